"""Starts the processes of a training on this machine and looks after them until they are done."""

import contextlib
import dataclasses
import logging
import os
import pickle
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from tfx_feeder.common.errors import FeederError
from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.launcher import log_forwarding, worker
from tfx_feeder.components.feeder_trainer.distribution.launcher.process import ManagedProcess
from tfx_feeder.components.feeder_trainer.distribution.layout import ProcessTopology

Result = TypeVar("Result")
Argument = TypeVar("Argument")

LOGGER = logging.getLogger("tfx_feeder.processes")

_POLL_S = 0.05
_GRACE_S = 10.0
"""Time to end by oneself, when asked to or when the chief is done."""
_AFTERMATH_S = 2.0
"""Time in which the death behind an exception shows: who loses a peer may notice before we do."""
_NEW_PORTS = 5
"""How often other ports are tried; it takes nothing from the restarts."""


class ProcessError(FeederError):
    """A process of a training failed."""


class ProcessLostError(ProcessError):
    """A process of a training went away."""


@dataclass(frozen=True)
class LaunchResult(Generic[Result]):
    """What came of the processes.

    Args:
        result: What the chief returned.
        losses: One sentence for each time that a process went away and work began again.
    """

    result: Result
    losses: tuple[str, ...] = ()


class _LostError(Exception):
    """A process went away; the work can begin again."""


class _PortTakenError(_LostError):
    """Somebody was faster with a port that had been free."""


def launch_processes(
    function: Callable[[Argument, ClusterTask | None], Result],
    argument: Argument,
    layout: ProcessTopology,
    *,
    log_dir: str | Path,
    restarts: int = 3,
    on_loss: Literal["same", "fewer"] = "same",
) -> LaunchResult[Result]:
    """Runs a function in the processes of a layout and returns what it returned in the chief.

    A process that is killed or loses another ends all of them, and all begin again; of a layout
    with servers, a worker comes back alone. The function goes on from its own checkpoints. Log
    records of the chief are handled here as if they were made here.

    Args:
        function: Importable; called with the argument and the process's task. Those that serve
            the chief do not call it.
        argument: Goes to the processes by pickle.
        layout: Which processes.
        log_dir: Folder of a log file for each process.
        restarts: How often all may begin again.
        on_loss: ``"fewer"`` begins again with one worker fewer, if it is a team.

    Raises:
        FeederError: One that the function raised; or a process failed in another way, or too
            often, and the message holds the end of its log.
    """
    call = worker.WorkItem.from_function(function, argument)
    losses: list[str] = []
    collisions = 0
    while True:
        try:
            with _group(call, log_dir, losses, restarts) as group:
                group.start(layout.tasks())
                return LaunchResult(group.wait(), tuple(losses))
        except _PortTakenError as error:
            collisions += 1
            if collisions > _NEW_PORTS:
                raise ProcessError(str(error)) from error
            LOGGER.warning("%s All processes start again with other ports.", error)
        except _LostError as error:
            if len(losses) >= restarts:
                raise ProcessError(
                    f"The training lost a process {len(losses) + 1} times, and {restarts} "
                    f"restarts are allowed. The last time: {error}"
                ) from error
            losses.append(str(error))
            if on_loss == "fewer" and layout.starts == "workers" and layout.workers > 1:
                layout = dataclasses.replace(layout, workers=layout.workers - 1)
            LOGGER.warning("%s All processes start again.", error)


def run_alone(
    call: worker.WorkItem,
    task: ClusterTask,
    *,
    log_dir: str | Path,
    watch: Callable[[], None] = lambda: None,
) -> Any:
    """Runs one member of a cluster that an orchestrator keeps; its peers are elsewhere.

    Args:
        call: What all members run.
        task: The place of this one.
        log_dir: Folder of its log file.
        watch: Called many times a second; what it raises ends the member, and comes out.

    Returns:
        What the function returned, if this is the chief.

    Raises:
        ProcessLostError: Another member went away, or the process of this one was killed.
        FeederError: As ``launch_processes``.
    """
    try:
        with _group(call, log_dir, [], 0) as group:
            group.start((task,))
            return group.wait(watch)
    except _LostError as error:
        raise ProcessLostError(str(error)) from error


@contextlib.contextmanager
def _group(
    call: worker.WorkItem, log_dir: str | Path, losses: list[str], restarts: int
) -> Iterator["_Group"]:
    with tempfile.TemporaryDirectory(prefix="tfx-feeder-") as folder:
        worker.write(Path(folder) / worker.CALL_FILE, call)
        group = _Group(Path(folder), Path(log_dir), losses, restarts)
        try:
            yield group
        finally:
            group.stop()


@dataclass
class _Group:
    """The processes of one attempt; the first is the chief."""

    folder: Path
    log_dir: Path
    losses: list[str]
    restarts: int
    _children: list[ManagedProcess] = field(default_factory=list)
    _listener: threading.Thread | None = None

    def start(self, tasks: tuple[ClusterTask | None, ...]) -> None:
        self.log_dir.mkdir(parents=True, exist_ok=True)
        read, write = os.pipe()
        self._listener = log_forwarding.listen(read)
        try:
            for index, task in enumerate(tasks):
                self._children.append(
                    ManagedProcess.start(
                        task, self.folder, self.log_dir, write if index == 0 else None
                    )
                )
        finally:
            os.close(write)

    def wait(self, watch: Callable[[], None] = lambda: None) -> Any:
        """Returns the chief's result.

        Raises:
            _LostError: A process went away.
            FeederError: A process failed.
        """
        while (chief := self._children[0]).poll() is None:
            for child in self._children[1:]:
                self._check(child)
            watch()
            time.sleep(_POLL_S)
        self._check(chief)
        self._await(time.monotonic() + _GRACE_S)
        return self._result(chief)

    def stop(self) -> None:
        """Ends all that still run, and what they have started."""
        for child in self._children:
            child.terminate()
        self._await(time.monotonic() + _GRACE_S, servers=True)
        for child in self._children:
            child.close()
        if self._listener is not None:
            self._listener.join(_GRACE_S)  # The last records are still on their way.

    def _check(self, child: ManagedProcess) -> None:
        status = child.poll()
        if status is None or status == worker.DONE:
            return
        if status == worker.REFUSED and (error := child.error()) is not None:
            raise error
        if status == worker.IN_USE and child.task is not None:
            raise _PortTakenError(
                f"{child.name} cannot listen at {child.address}, which is in use; its log is "
                f"{child.log}."
            )
        if child.task is not None and child.task.type == "worker" and worker.is_server(child.task):
            self._revive(child)
            return
        if status in worker.AFTER_EXCEPTION:
            child = self._cause(child)
            if child.poll() == worker.REFUSED and (error := child.error()) is not None:
                raise error
            if child.poll() in (worker.FAILED, worker.REFUSED):
                raise ProcessError(f"{child.name} failed. {child.tail()}")
        raise _LostError(child.ending())

    def _cause(self, child: ManagedProcess) -> ManagedProcess:
        """Returns the one whose end explains the others': who loses a peer may end before it."""
        time.sleep(_AFTERMATH_S)

        def rank(other: ManagedProcess) -> int:
            status = other.poll() or worker.DONE
            killed = status < 0
            return [status == worker.REFUSED, killed, status == worker.FAILED, True].index(True)

        return min([child, *self._children], key=rank)

    def _revive(self, child: ManagedProcess) -> None:
        ending = child.ending()
        if len(self.losses) >= self.restarts:
            raise _LostError(ending)
        self.losses.append(f"{ending} It was started again.")
        LOGGER.warning("%s The others went on.", self.losses[-1])
        child.close()
        again = ManagedProcess.start(child.task, self.folder, self.log_dir, None)
        self._children[self._children.index(child)] = again

    def _result(self, chief: ManagedProcess) -> Any:
        if chief.task is not None and not chief.task.is_chief:
            return None
        try:
            return pickle.loads((self.folder / worker.RESULT_FILE).read_bytes())
        except FileNotFoundError:
            raise ProcessError(f"{chief.name} ended without a result. {chief.tail()}") from None

    def _await(self, deadline: float, *, servers: bool = False) -> None:
        """Waits for processes to end; servers do so only when they are told."""
        for child in self._children:
            if servers or not worker.is_server(child.task):
                child.await_end(deadline - time.monotonic())
