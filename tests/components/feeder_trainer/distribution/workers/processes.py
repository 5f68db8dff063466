"""Functions that the processes of test_supervisor.py and test_rendezvous.py run."""

import contextlib
import logging
import os
import signal
import subprocess
import time
from pathlib import Path

from tests.components.feeder_trainer.distribution.workers.waiting import wait_for
from tfx_feeder.common.errors import ConfigError, FeederError
from tfx_feeder.components.feeder_trainer.distribution.cluster import (
    VARIABLE,
    ClusterTask,
    ProcessTopology,
    is_reachable,
)
from tfx_feeder.components.feeder_trainer.distribution.launcher.rendezvous import run_chief
from tfx_feeder.components.feeder_trainer.distribution.launcher.supervisor import launch_processes


class PeerLostError(FeederError):
    """As a strategy raises it that misses a member."""


def positions(folder: str, task: ClusterTask | None) -> tuple[str, int]:
    """Waits until all members were here; returns the chief's place and how many there were."""
    members = 1 if task is None else len(task.trainers)
    name = "alone" if task is None else f"{task.type}-{task.index}"
    (Path(folder) / name).touch()
    while len(list(Path(folder).glob("*-*"))) < members * (task is not None):
        time.sleep(0.02)
    return name, members


def is_first_time(folder: str, task: ClusterTask) -> bool:
    """Says whether this member runs for the first time; waits until all have asked."""
    mark = Path(folder) / f"{task.type}-{task.index}.began"
    first = not mark.exists()
    mark.touch()
    wait_for(lambda: len(list(Path(folder).glob("*.began"))) == len(task.trainers), 60)
    return first


def die_once(folder: str, task: ClusterTask | None) -> str:
    """Kills the second member the first time."""
    assert task is not None
    if is_first_time(folder, task):
        if task.index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    return "done"


def die(folder: str, task: ClusterTask | None) -> None:
    """Kills itself every time."""
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(_: str, task: ClusterTask | None) -> None:
    """Finds its options wrong."""
    if task is not None and task.is_chief:
        time.sleep(60)
    raise ConfigError("batch_size", received=0, expected="1 or more", fix="Raise it.")


def fail(_: str, task: ClusterTask | None) -> None:
    """Has a bug."""
    raise KeyError("no such thing")


def lose_peer(folder: str, task: ClusterTask | None) -> str:
    """Loses a peer the first time, without a death that could be seen."""
    mark = Path(folder) / "lost"
    if not mark.exists():
        mark.touch()
        raise PeerLostError("nobody there")
    return "done"


def log(_: str, task: ClusterTask | None) -> None:
    """Says something on its way."""
    logging.getLogger("tfx_feeder.progress").info("half way", extra={"progress": {"half": 0.5}})


def wait(folder: str, task: ClusterTask | None) -> None:
    """Leaves its process id, and stays."""
    (Path(folder) / f"pid-{os.getpid()}").touch()
    time.sleep(600)


def parent(folder: str) -> None:
    """Runs two members that stay."""
    launch_processes(wait, folder, ProcessTopology("workers", 2), log_dir=folder)


def count_members(folder: str, task: ClusterTask | None) -> int:
    """Kills the last member while there are three of them."""
    assert task is not None
    if len(task.trainers) == 3:
        if task.index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    return len(task.trainers)


def find_port_taken(folder: str, task: ClusterTask | None) -> str:
    """Finds its port taken the first time; returns the one that it has then."""
    assert task is not None
    if is_first_time(folder, task):
        if task.index == 1:
            (Path(folder) / "first").write_text(task.cluster["worker"][1])
            raise OSError(98, "Address already in use")
        time.sleep(60)
    return task.cluster["worker"][1]


def leave(_: str, task: ClusterTask | None) -> None:
    """Ends without an answer."""
    os._exit(0)


def answer_then_refuse(_: str, task: ClusterTask | None) -> str:
    """The chief answers; then another member finds its options wrong."""
    assert task is not None
    if not task.is_chief:
        time.sleep(1)
        raise ConfigError("late", received=0, expected="1 or more")
    return "done"


def leave_child(folder: str, task: ClusterTask | None) -> None:
    """Starts a process that would outlive it, and is killed."""
    process = subprocess.Popen(["sleep", "600"])
    (Path(folder) / f"pid-{process.pid}").touch()
    os.kill(os.getpid(), signal.SIGKILL)


def log_much(_: str, task: ClusterTask | None) -> None:
    """Says much until its last moment, of things that stay where they are."""
    for number in range(100):
        logging.getLogger("tfx_feeder.progress").info("%d %s", number, lambda: None)


def lose_worker(_: str, task: ClusterTask | None) -> tuple[bool, bool]:
    """Kills a server once it listens; says whether it went away and came back."""
    assert task is not None
    address = task.cluster["worker"][1]
    wait_for(lambda: is_reachable(address))
    kill(ClusterTask(task.cluster, "worker", 1))
    wait_for(lambda: not is_reachable(address))
    wait_for(lambda: is_reachable(address))
    return True, is_reachable(task.cluster["worker"][0])


def lose_server(folder: str, task: ClusterTask | None) -> str:
    """Kills the parameter server the first time."""
    assert task is not None
    wait_for(lambda: is_reachable(task.cluster["ps"][0]))
    mark = Path(folder) / "lost"
    if not mark.exists():
        mark.touch()
        kill(ClusterTask(task.cluster, "ps", 0))
        time.sleep(60)
    return "done"


def kill(task: ClusterTask) -> None:
    """Kills the process that has this place."""
    mark = f"{VARIABLE}={task.to_json()}".encode()
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and mark in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)


def meet(folder: str, task: ClusterTask | None) -> list[str]:
    """Waits until every member was here, each a single time; returns who was."""
    assert task is not None
    with open(Path(folder) / f"{task.type}-{task.index}.here", "x") as file:
        file.write("once")
    wait_for(lambda: len(list(Path(folder).glob("*.here"))) == len(task.trainers), 60)
    return sorted(path.stem for path in Path(folder).glob("*.here"))


def meet_servers(_: str, task: ClusterTask | None) -> int:
    """Waits until all servers of the cluster are there."""
    assert task is not None
    servers = [*task.cluster["worker"], *task.cluster["ps"]]
    wait_for(lambda: all(map(is_reachable, servers)))
    return len(servers)


def stay(folder: str, task: ClusterTask | None) -> None:
    """Leaves its place, and stays."""
    assert task is not None
    (Path(folder) / f"{task.type}-{task.index}.stays").touch()
    time.sleep(600)


def run_chief_and_stay(folder: str, task: ClusterTask) -> None:
    """Leads a call that does not end."""
    run_chief(stay, folder, task, log_dir=folder)


def lose_chief(folder: str, task: ClusterTask | None) -> None:
    """The chief is killed once the other member is there, which then has lost it."""
    assert task is not None
    mark = Path(folder) / "there"
    if task.is_chief:
        wait_for(mark.exists, 60)
        os.kill(os.getpid(), signal.SIGKILL)
    mark.touch()
    time.sleep(1)
    raise PeerLostError("nobody there")


def fail_beside_chief(folder: str, task: ClusterTask | None) -> None:
    """Has a bug that only one member meets, while the chief goes on."""
    assert task is not None
    if not task.is_chief:
        raise KeyError("no such thing")
    wait_for((Path(folder) / "seen").exists, 60)


def refuse_late(_: str, task: ClusterTask | None) -> None:
    """The chief raises an error, which the other worker notices first, as a lost peer."""
    if task is not None and task.is_chief:
        time.sleep(0.5)
        raise ConfigError("batch_size", received=0, expected="1 or more")
    raise PeerLostError("nobody there")
