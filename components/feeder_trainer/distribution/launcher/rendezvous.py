"""Rendezvous of the processes of a cluster that an orchestrator manages, one per machine.

The chief's machine runs the Trainer, which publishes its work item in the rendezvous file on a
shared file system; the other machines run ``tfx-feeder worker`` and wait for that file. When the
work is done, the chief renames the file; if the chief fails, the file is removed and the workers
wait for the chief's next attempt.
"""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfx_feeder.common.errors import ConfigError, FeederError
from tfx_feeder.common.files import atomic_write
from tfx_feeder.components.feeder_trainer.distribution.cluster import (
    VARIABLE,
    ClusterTask,
    is_reachable,
)
from tfx_feeder.components.feeder_trainer.distribution.launcher import worker
from tfx_feeder.components.feeder_trainer.distribution.launcher.job_file import (
    RENDEZVOUS_VARIABLE,
    read_job,
    write_job,
)
from tfx_feeder.components.feeder_trainer.distribution.launcher.supervisor import (
    ProcessLostError,
    run_single,
)

LOGGER = logging.getLogger("tfx_feeder.processes")

_OLD_VARIABLE = "TFX_FEEDER_JOB"
"""Name of the variable up to release 0.1; still read."""

_POLL_S = 1.0
_GRACE_S = 10.0
"""Grace period for the voluntary exit of a worker after the chief has finished."""


class RendezvousTimeoutError(FeederError):
    """Raised when the chief publishes no work in time."""


def run_chief(
    function: Callable[[Any, ClusterTask | None], Any],
    argument: Any,
    task: ClusterTask,
    *,
    log_dir: str,
    has_successor: bool = False,
) -> Any:
    """Publishes a work item, runs the chief's part of it, and returns the result.

    Args:
        function: Importable function; called with the argument and the task.
        argument: First argument of the function; sent to the workers as a pickle.
        task: Task of the chief.
        log_dir: Folder of the chief's log.
        has_successor: True if another item may follow, for which the workers wait.

    Raises:
        ConfigError: The task is not the chief's, or the rendezvous path is not set.
        FeederError: See ``supervisor.run_single``.
    """
    if not task.is_chief:
        raise ConfigError(
            VARIABLE,
            received=f"{task.type} {task.index}",
            expected="the chief, for the process that runs a pipeline",
            fix="Start `tfx-feeder worker` on the machines of all other tasks.",
        )
    path = rendezvous_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    item = worker.WorkItem.from_function(function, argument, has_successor=has_successor)
    write_job(path, item)
    try:
        result = run_single(item, task, log_dir=log_dir)
        os.replace(path, _beside(path, "done"))
        return result
    except ProcessLostError as error:
        raise ProcessLostError(
            f"{error} Start the Trainer again: training resumes from its checkpoint, and "
            "`tfx-feeder worker` rejoins on the other machines."
        ) from error
    finally:
        path.unlink(missing_ok=True)


def run_worker(task: ClusterTask, path: Path, *, timeout_s: float, log_dir: str | Path) -> None:
    """Runs the chief's work items until one completes that has no successor.

    If an item fails because another process failed, the worker waits for the chief's next attempt.

    Args:
        task: Task of this process; not the chief's.
        path: Rendezvous file.
        timeout_s: Maximum wait for a work item, and for a connection to the chief, in seconds.
        log_dir: Folder of this process's log.

    Raises:
        ConfigError: The task is the chief's.
        RendezvousTimeoutError: No work item was published in time.
        FeederError: A work item failed.
    """
    if task.is_chief:
        raise ConfigError(
            VARIABLE,
            received=f"{task.type} {task.index}, the chief of its cluster",
            expected="another task",
            fix="Run the pipeline on the machine of the chief.",
        )
    completed: worker.WorkItem | None = None
    while True:
        item = _next_item(path, task, timeout_s)
        if item is None:
            if completed is not None:
                return  # A successor was announced, but not needed.
            raise RendezvousTimeoutError(
                f"The chief published no work in {path} within {timeout_s:.0f} seconds. Check that "
                f"its Trainer is running and that {RENDEZVOUS_VARIABLE} is the same path on all "
                "machines."
            )
        is_done = _run_item(item, task, path, timeout_s=timeout_s, log_dir=log_dir)
        if is_done and not item.has_successor:
            return
        completed = item if is_done else None


def rendezvous_path(path: str | None = None) -> Path:
    """Returns the path of the rendezvous file.

    Args:
        path: Path; ``None``: that of the environment variable.

    Raises:
        ConfigError: No path is set.
    """
    path = path or os.environ.get(RENDEZVOUS_VARIABLE) or os.environ.get(_OLD_VARIABLE)
    if not path:
        raise ConfigError(
            RENDEZVOUS_VARIABLE,
            received=path,
            expected="a path in a folder that all machines of the cluster share",
        )
    return Path(path)


class _ChiefEndedError(Exception):
    """Raised when the chief has finished or started a new attempt."""


@dataclass
class _ChiefWatch:
    """Checks while a worker runs that its chief still works on the same item."""

    item: worker.WorkItem
    task: ClusterTask
    path: Path
    timeout_s: float
    _started_s: float = field(default_factory=time.monotonic)
    _next_check_s: float = 0.0
    _ended_s: float | None = None
    _is_connected: bool = False

    def __call__(self) -> None:
        now = time.monotonic()
        if now < self._next_check_s:
            return
        self._next_check_s = now + _POLL_S
        is_server = worker.is_server(self.task)
        current = read_job(self.path)
        if current is None or current.run_id != self.item.run_id:
            self._ended_s = self._ended_s or now
            if is_server or now - self._ended_s > _GRACE_S:
                raise _ChiefEndedError
        elif not is_server and not self._is_connected:
            chief = self.task.trainers[0]
            self._is_connected = is_reachable(chief)
            if not self._is_connected and now - self._started_s > self.timeout_s:
                raise FeederError(
                    f"The chief published work in {self.path}, but was not reachable at {chief} "
                    f"within {self.timeout_s:.0f} seconds. Check that its Trainer is running and "
                    f"that {self.task.type} {self.task.index} can reach it at this address."
                )


def _run_item(
    item: worker.WorkItem, task: ClusterTask, path: Path, *, timeout_s: float, log_dir: str | Path
) -> bool:
    """Runs an item until this process or its chief ends; returns True if the item completed."""
    try:
        run_single(item, task, log_dir=log_dir, watch=_ChiefWatch(item, task, path, timeout_s))
    except ProcessLostError as error:
        LOGGER.warning("%s Waiting for the chief's next attempt.", error)
        return False
    except _ChiefEndedError:
        done = read_job(_beside(path, "done"))
        return done is not None and done.run_id == item.run_id
    return True


def _next_item(path: Path, task: ClusterTask, timeout_s: float) -> worker.WorkItem | None:
    """Waits for an item that this process has not tried; returns ``None`` after ``timeout_s``.

    The workers of a process group start together, so a worker that its orchestrator restarts does
    not rejoin the item that it was running. Servers may rejoin.
    """
    attempted = _beside(path, f"{task.type}-{task.index}")
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        item = read_job(path)
        if item is not None and worker.is_server(task):
            return item
        if item is not None and (not attempted.exists() or attempted.read_text() != item.run_id):
            atomic_write(attempted, item.run_id)
            return item
        time.sleep(_POLL_S)
    return None


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f"{path.name}.{name}")
