"""Functions run by the processes of test_supervisor.py and test_rendezvous.py."""

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
    """Error of a strategy that cannot reach a peer."""


def positions(folder: str, task: ClusterTask | None) -> tuple[str, int]:
    """Waits for all workers; returns the task name and the number of workers."""
    workers = 1 if task is None else len(task.trainers)
    name = "alone" if task is None else f"{task.type}-{task.index}"
    (Path(folder) / name).touch()
    while len(list(Path(folder).glob("*-*"))) < workers * (task is not None):
        time.sleep(0.02)
    return name, workers


def write_gpus(folder: str, task: ClusterTask | None) -> None:
    """Writes the GPUs that this process sees."""
    name = "process" if task is None else f"{task.type}-{task.index}"
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    (Path(folder) / name).write_text(f"{gpus}, grows {os.environ['TF_FORCE_GPU_ALLOW_GROWTH']}")


def is_first_time(folder: str, task: ClusterTask) -> bool:
    """Returns True in the first attempt of this worker; waits for all workers."""
    mark = Path(folder) / f"{task.type}-{task.index}.began"
    first = not mark.exists()
    mark.touch()
    wait_for(lambda: len(list(Path(folder).glob("*.began"))) == len(task.trainers), 60)
    return first


def die_once(folder: str, task: ClusterTask | None) -> str:
    """Kills the second worker in the first attempt."""
    assert task is not None
    if is_first_time(folder, task):
        if task.index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    return "done"


def die(folder: str, task: ClusterTask | None) -> None:
    """Kills this process in every attempt."""
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(_: str, task: ClusterTask | None) -> None:
    """Raises a configuration error in the worker first."""
    if task is not None and task.is_chief:
        time.sleep(60)
    raise ConfigError("batch_size", received=0, expected="1 or more", fix="Raise it.")


def fail(_: str, task: ClusterTask | None) -> None:
    """Raises an unexpected exception."""
    raise KeyError("no such thing")


def lose_peer(folder: str, task: ClusterTask | None) -> str:
    """Reports an unreachable peer in the first attempt, although no process exited."""
    mark = Path(folder) / "lost"
    if not mark.exists():
        mark.touch()
        raise PeerLostError("peer unreachable")
    return "done"


def log(_: str, task: ClusterTask | None) -> None:
    """Logs a progress record."""
    logging.getLogger("tfx_feeder.progress").info("half way", extra={"progress": {"half": 0.5}})


def wait(folder: str, task: ClusterTask | None) -> None:
    """Writes the process id, and sleeps."""
    (Path(folder) / f"pid-{os.getpid()}").touch()
    time.sleep(600)


def parent(folder: str) -> None:
    """Runs two workers that sleep."""
    launch_processes(wait, folder, ProcessTopology("workers", 2), log_dir=folder)


def count_workers(folder: str, task: ClusterTask | None) -> int:
    """Kills the last of three workers; returns the number of workers."""
    assert task is not None
    if len(task.trainers) == 3:
        if task.index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    return len(task.trainers)


def find_port_taken(folder: str, task: ClusterTask | None) -> str:
    """Reports a port in use in the first attempt; returns the address of the second worker."""
    assert task is not None
    if is_first_time(folder, task):
        if task.index == 1:
            (Path(folder) / "first").write_text(task.cluster["worker"][1])
            raise OSError(98, "Address already in use")
        time.sleep(60)
    return task.cluster["worker"][1]


def leave(_: str, task: ClusterTask | None) -> None:
    """Exits without a result."""
    os._exit(0)


def answer_then_refuse(_: str, task: ClusterTask | None) -> str:
    """Returns a result from the chief; later, another worker raises an error."""
    assert task is not None
    if not task.is_chief:
        time.sleep(1)
        raise ConfigError("late", received=0, expected="1 or more")
    return "done"


def leave_child(folder: str, task: ClusterTask | None) -> None:
    """Starts a subprocess that would outlive this process, and kills this process."""
    process = subprocess.Popen(["sleep", "600"])
    (Path(folder) / f"pid-{process.pid}").touch()
    os.kill(os.getpid(), signal.SIGKILL)


def log_much(_: str, task: ClusterTask | None) -> None:
    """Logs until the end, with arguments that cannot be pickled."""
    for number in range(100):
        logging.getLogger("tfx_feeder.progress").info("%d %s", number, lambda: None)


def lose_worker(_: str, task: ClusterTask | None) -> tuple[bool, bool]:
    """Kills a worker once it is listening, and waits until it is reachable again."""
    assert task is not None
    address = task.cluster["worker"][1]
    wait_for(lambda: is_reachable(address))
    kill(ClusterTask(task.cluster, "worker", 1))
    wait_for(lambda: not is_reachable(address))
    wait_for(lambda: is_reachable(address))
    return True, is_reachable(task.cluster["worker"][0])


def lose_server(folder: str, task: ClusterTask | None) -> str:
    """Kills the parameter server in the first attempt."""
    assert task is not None
    wait_for(lambda: is_reachable(task.cluster["ps"][0]))
    mark = Path(folder) / "lost"
    if not mark.exists():
        mark.touch()
        kill(ClusterTask(task.cluster, "ps", 0))
        time.sleep(60)
    return "done"


def kill(task: ClusterTask) -> None:
    """Kills the process of a task."""
    mark = f"{VARIABLE}={task.to_json()}".encode()
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and mark in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)


def meet(folder: str, task: ClusterTask | None) -> list[str]:
    """Waits until each worker has run exactly once; returns their names."""
    assert task is not None
    with open(Path(folder) / f"{task.type}-{task.index}.here", "x") as file:
        file.write("once")
    wait_for(lambda: len(list(Path(folder).glob("*.here"))) == len(task.trainers), 60)
    return sorted(path.stem for path in Path(folder).glob("*.here"))


def meet_servers(_: str, task: ClusterTask | None) -> int:
    """Waits until all servers are reachable; returns their number."""
    assert task is not None
    servers = [*task.cluster["worker"], *task.cluster["ps"]]
    wait_for(lambda: all(map(is_reachable, servers)))
    return len(servers)


def stay(folder: str, task: ClusterTask | None) -> None:
    """Writes the task name, and sleeps."""
    assert task is not None
    (Path(folder) / f"{task.type}-{task.index}.stays").touch()
    time.sleep(600)


def run_chief_and_stay(folder: str, task: ClusterTask) -> None:
    """Runs work that does not end."""
    run_chief(stay, folder, task, log_dir=folder)


def lose_chief(folder: str, task: ClusterTask | None) -> None:
    """Kills the chief once the other worker runs, which then reports a lost peer."""
    assert task is not None
    mark = Path(folder) / "there"
    if task.is_chief:
        wait_for(mark.exists, 60)
        os.kill(os.getpid(), signal.SIGKILL)
    mark.touch()
    time.sleep(1)
    raise PeerLostError("peer unreachable")


def fail_beside_chief(folder: str, task: ClusterTask | None) -> None:
    """Raises an unexpected exception in one worker while the chief continues."""
    assert task is not None
    if not task.is_chief:
        raise KeyError("no such thing")
    wait_for((Path(folder) / "seen").exists, 60)


def refuse_late(_: str, task: ClusterTask | None) -> None:
    """Raises an error in the chief; the other worker reports a lost peer first."""
    if task is not None and task.is_chief:
        time.sleep(0.5)
        raise ConfigError("batch_size", received=0, expected="1 or more")
    raise PeerLostError("peer unreachable")
