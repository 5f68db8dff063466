"""What the processes of test_processes.py run; a module of its own, so that they can import it."""

import logging
import os
import signal
import time
from pathlib import Path

from tfx_feeder.components.common.errors import ConfigError, FeederError
from tfx_feeder.components.feeder_trainer.placing.layout import Layout
from tfx_feeder.components.feeder_trainer.placing.processes import run
from tfx_feeder.components.feeder_trainer.placing.task import Task


def positions(folder: str, task: Task | None) -> tuple[str, int]:
    """Waits until all members were here; returns the chief's place and how many there were."""
    members = 1 if task is None else len(task.members)
    name = "alone" if task is None else f"{task.type}-{task.index}"
    (Path(folder) / name).touch()
    while len(list(Path(folder).glob("*-*"))) < members * (task is not None):
        time.sleep(0.02)
    return name, members


def die_once(folder: str, task: Task | None) -> str:
    """Kills the second member the first time."""
    assert task is not None
    mark = Path(folder) / "died"
    if not mark.exists():
        if task.index == 1:
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    return "done"


def die(folder: str, task: Task | None) -> None:
    """Kills itself every time."""
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(_: str, task: Task | None) -> None:
    """Finds its options wrong."""
    if task is not None and task.is_chief:
        time.sleep(60)
    raise ConfigError("batch_size", received=0, expected="1 or more", fix="Raise it.")


def fail(_: str, task: Task | None) -> None:
    """Has a bug."""
    raise KeyError("no such thing")


def lose_peer(folder: str, task: Task | None) -> str:
    """Loses a peer the first time, without a death that could be seen."""
    mark = Path(folder) / "lost"
    if not mark.exists():
        mark.touch()

        class PeerLostError(FeederError):
            pass

        raise PeerLostError("nobody there")
    return "done"


def log(_: str, task: Task | None) -> None:
    """Says something on its way."""
    logging.getLogger("tfx_feeder.progress").info("half way", extra={"progress": {"half": 0.5}})


def wait(folder: str, task: Task | None) -> None:
    """Leaves its process id, and stays."""
    (Path(folder) / f"pid-{os.getpid()}").touch()
    time.sleep(600)


def parent(folder: str) -> None:
    """Runs two members that stay."""
    run(wait, folder, Layout("team", 2), log_dir=folder)
