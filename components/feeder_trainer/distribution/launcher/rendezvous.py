"""Members of a cluster that an orchestrator keeps: each machine runs one.

The machine of the chief runs the Trainer, which leaves the call for the others in a file that all
of them see; they run ``tfx-feeder worker`` and wait for it. Once the call is done, the file is
renamed; if the chief fails it is removed, and the others wait for the chief's next attempt.
"""

import logging
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfx_feeder.common.errors import ConfigError, FeederError
from tfx_feeder.components.feeder_trainer.distribution.addresses import is_answering
from tfx_feeder.components.feeder_trainer.distribution.cluster import VARIABLE, ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.launcher import worker
from tfx_feeder.components.feeder_trainer.distribution.launcher.supervisor import (
    ProcessLostError,
    run_alone,
)

LOGGER = logging.getLogger("tfx_feeder.processes")

RENDEZVOUS_VARIABLE = "TFX_FEEDER_JOB"
"""Environment variable with the path of the file in which the chief leaves the call."""

_POLL_S = 1.0
_GRACE_S = 10.0
"""Time that a member has to end after the chief has."""


class RendezvousTimeoutError(FeederError):
    """The chief left no call in time."""


def run_chief(
    function: Callable[[Any, ClusterTask | None], Any],
    argument: Any,
    task: ClusterTask,
    *,
    log_dir: str,
    more: bool = False,
) -> Any:
    """Tells all members what to run, runs the chief's part, and returns its result.

    Args:
        function: Importable; called with the argument and the task.
        argument: Goes to the members by pickle.
        task: The chief.
        log_dir: Folder of the chief's log.
        more: Another call may follow: members wait for it when they are done with this one.

    Raises:
        ConfigError: This is not the chief, or the path of the file is not set.
        FeederError: See ``processes.run_alone``.
    """
    if not task.is_chief:
        raise ConfigError(
            VARIABLE,
            received=f"{task.type} {task.index}",
            expected="the chief, for a process that runs a pipeline",
            fix="Start `tfx-feeder worker` on the machines of all other tasks.",
        )
    path = rendezvous_path(os.environ.get(RENDEZVOUS_VARIABLE))
    path.parent.mkdir(parents=True, exist_ok=True)
    call = worker.WorkItem.from_function(function, argument, more=more)
    worker.write(path, call)
    try:
        result = run_alone(call, task, log_dir=log_dir)
        os.replace(path, _beside(path, "done"))
        return result
    except ProcessLostError as error:
        raise ProcessLostError(
            f"{error} Start the Trainer again: the training goes on from its checkpoint, and "
            "`tfx-feeder worker` on the other machines takes part again."
        ) from error
    finally:
        path.unlink(missing_ok=True)


def run_worker(task: ClusterTask, path: Path, *, timeout_s: float, log_dir: str | Path) -> None:
    """Takes part in the calls that the chief leaves, until one is done and no other follows.

    A call that fails because another member or the chief went away is not the end: the chief is
    expected to leave another one.

    Args:
        task: The place of this process; not the chief's.
        path: Of the chief's file.
        timeout_s: How long to wait for a call, and for the chief to be reached, in seconds.
        log_dir: Folder of this member's log.

    Raises:
        ConfigError: This is the chief.
        RendezvousTimeoutError: No call came in time.
        FeederError: A call failed.
    """
    if task.is_chief:
        raise ConfigError(
            VARIABLE,
            received=f"{task.type} {task.index}, the chief of its cluster",
            expected="another task",
            fix="Run the pipeline on the machine of the chief.",
        )
    before: worker.WorkItem | None = None
    while True:
        call = _next_call(path, task, timeout_s)
        if call is None:
            if before is not None:
                return  # One more was possible, and none was needed.
            raise RendezvousTimeoutError(
                f"The chief left no work in {path} for {timeout_s:.0f} seconds. Is its Trainer "
                f"running, and is {RENDEZVOUS_VARIABLE} the same path on all machines?"
            )
        done = _take_part(call, task, path, timeout_s=timeout_s, log_dir=log_dir)
        if done and not call.more:
            return
        before = call if done else None


def rendezvous_path(text: str | None) -> Path:
    """Returns the path of the chief's file.

    Raises:
        ConfigError: It is not set.
    """
    if not text:
        raise ConfigError(
            RENDEZVOUS_VARIABLE,
            received=text,
            expected="a path in a folder that all machines of the cluster share",
        )
    return Path(text)


class _OverError(Exception):
    """The chief has ended, or has begun anew."""


@dataclass
class _Watch:
    """Looks, while a member runs, whether its chief still does."""

    call: worker.WorkItem
    task: ClusterTask
    path: Path
    timeout_s: float
    _began: float = field(default_factory=time.monotonic)
    _next: float = 0.0
    _over: float | None = None
    _reached: bool = False

    def __call__(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _POLL_S
        serves = worker.is_server(self.task)
        current = _read(self.path)
        if current is None or current.run_id != self.call.run_id:
            self._over = self._over or now
            if serves or now - self._over > _GRACE_S:
                raise _OverError
        elif not serves and not self._reached:
            chief = self.task.members[0]
            self._reached = is_answering(chief)
            if not self._reached and now - self._began > self.timeout_s:
                raise FeederError(
                    f"The chief left work in {self.path}, but has not been reached at {chief} for "
                    f"{self.timeout_s:.0f} seconds. Is its Trainer running, and is that its "
                    f"address for {self.task.type} {self.task.index}?"
                )


def _take_part(
    call: worker.WorkItem, task: ClusterTask, path: Path, *, timeout_s: float, log_dir: str | Path
) -> bool:
    """Runs a member until it or its chief ends; returns whether the call is done."""
    try:
        run_alone(call, task, log_dir=log_dir, watch=_Watch(call, task, path, timeout_s))
    except ProcessLostError as error:
        LOGGER.warning("%s Ready for another attempt.", error)
        return False
    except _OverError:
        done = _read(_beside(path, "done"))
        return done is not None and done.run_id == call.run_id
    return True


def _next_call(path: Path, task: ClusterTask, timeout_s: float) -> worker.WorkItem | None:
    """Waits for a call that this member has not tried; returns ``None`` if there is none in time.

    A team's members begin together, so one that was started again by its orchestrator leaves the
    call to which it belonged. Those that serve may come back to theirs.
    """
    mark = _beside(path, f"{task.type}-{task.index}")
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        call = _read(path)
        if call is not None and worker.is_server(task):
            return call
        if call is not None and (not mark.exists() or mark.read_text() != call.run_id):
            mark.write_text(call.run_id)
            return call
        time.sleep(_POLL_S)
    return None


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f"{path.name}.{name}")


def _read(path: Path) -> worker.WorkItem | None:
    """Returns the call in a file, or ``None`` where there is no file."""
    call: Any = None
    try:
        call = pickle.loads(path.read_bytes())
    except OSError:  # Not there, or replaced in the middle, on a network's file system.
        return None
    except Exception as error:  # Whatever bytes of others unpickle to.
        LOGGER.debug("%s", error)
    if not isinstance(call, worker.WorkItem):
        raise ConfigError(
            RENDEZVOUS_VARIABLE,
            received=str(path),
            expected="the file in which the chief's Trainer leaves work",
        )
    return call
