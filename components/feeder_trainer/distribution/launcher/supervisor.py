"""Starts the processes of a training run on this machine and supervises them until they finish."""

import contextlib
import dataclasses
import logging
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Generic, Literal, TypeVar

from tfx_feeder.common.errors import FeederError
from tfx_feeder.common.temporary import temporary_folder
from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask, ProcessTopology
from tfx_feeder.components.feeder_trainer.distribution.launcher import log_forwarding, worker
from tfx_feeder.components.feeder_trainer.distribution.launcher.process import ManagedProcess

Result = TypeVar("Result")
Argument = TypeVar("Argument")

LOGGER = logging.getLogger("tfx_feeder.processes")

_POLL_S = 0.05
_GRACE_S = 10.0
"""Grace period for voluntary shutdown."""
_INTERRUPTED_S = 0.5
"""Grace period for the other processes after the chief has saved a checkpoint and exited."""
_ROOT_CAUSE_S = 2.0
"""Wait for the root-cause process to exit; a peer may report the failure first."""
_PORT_RETRIES = 5
"""Port retries; not counted against ``restarts``."""


class ProcessError(FeederError):
    """Raised when a training process fails."""


class ProcessLostError(ProcessError):
    """Raised when a training process is killed or loses its connection to another."""


@dataclass(frozen=True)
class LaunchResult(Generic[Result]):
    """Outcome of a launch.

    Args:
        result: Return value of the function in the chief.
        failures: One message per restart.
    """

    result: Result
    failures: tuple[str, ...] = ()


class _ProcessFailure(Exception):
    """Raised when a process fails in a way that a restart can fix."""


class _PortTakenError(_ProcessFailure):
    """Raised when a port was taken between probing and binding."""


def launch_processes(
    function: Callable[[Argument, ClusterTask | None], Result],
    argument: Argument,
    topology: ProcessTopology,
    *,
    log_dir: str | Path,
    restarts: int = 3,
    on_failure: Literal["same", "fewer"] = "same",
) -> LaunchResult[Result]:
    """Runs a function in the processes of a topology and returns the chief's result.

    If a process is killed or loses another, all of them are stopped and restarted; with parameter
    servers, a worker is restarted alone. The function has to resume from its own checkpoints. Log
    records of the chief are handled here as if this process had logged them.

    Args:
        function: Importable function; called with the argument and the task of its process.
            Processes that serve the chief do not call it.
        argument: First argument of the function; sent to the processes as a pickle.
        topology: Processes to start.
        log_dir: Folder with one log file per process.
        restarts: Maximum number of restarts after process failures.
        on_failure: Number of workers after a restart: ``"same"``, or ``"fewer"`` to drop one of
            several workers.

    Raises:
        FeederError: The function raised it, or a process failed otherwise or more than
            ``restarts`` times; the message then holds the end of its log.
    """
    item = worker.WorkItem.from_function(function, argument)
    failures: list[str] = []
    collisions = 0
    while True:
        try:
            with _supervised(item, log_dir, failures, restarts) as processes:
                processes.start(topology.tasks(), topology.gpu_of)
                return LaunchResult(processes.wait(), tuple(failures))
        except _PortTakenError as error:
            collisions += 1
            if collisions > _PORT_RETRIES:
                raise ProcessError(str(error)) from error
            LOGGER.warning("%s Restarting all processes on other ports.", error)
        except _ProcessFailure as error:
            if len(failures) >= restarts:
                raise ProcessError(
                    f"A training process failed {len(failures) + 1} times; the limit is "
                    f"{restarts} restarts. Last failure: {error}"
                ) from error
            failures.append(str(error))
            if on_failure == "fewer" and topology.launch_mode == "workers" and topology.workers > 1:
                topology = dataclasses.replace(topology, workers=topology.workers - 1)
            LOGGER.warning("%s Restarting all processes.", error)


def run_single(
    item: worker.WorkItem,
    task: ClusterTask,
    *,
    log_dir: str | Path,
    watch: Callable[[], None] = lambda: None,
) -> Any:
    """Runs one process of a cluster whose other processes run on other machines.

    Args:
        item: Work item of all processes.
        task: Task of this process.
        log_dir: Folder of its log file.
        watch: Function to call repeatedly while the process runs; an exception that it raises
            stops the process and propagates.

    Returns:
        The function's return value if this is the chief, else ``None``.

    Raises:
        ProcessLostError: Another process failed, or this one was killed.
        FeederError: As ``launch_processes``.
    """
    try:
        with _supervised(item, log_dir, [], 0) as processes:
            processes.start((task,))
            return processes.wait(watch)
    except _ProcessFailure as error:
        raise ProcessLostError(str(error)) from error


@contextlib.contextmanager
def _supervised(
    item: worker.WorkItem, log_dir: str | Path, failures: list[str], restarts: int
) -> Iterator["_Supervisor"]:
    with temporary_folder() as folder, _sigterm_raises():
        worker.write_pickle(Path(folder) / worker.WORK_FILE, item)
        supervisor = _Supervisor(Path(folder), Path(log_dir), failures, restarts)
        try:
            yield supervisor
        except (KeyboardInterrupt, SystemExit):
            supervisor.interrupt()
            raise
        finally:
            supervisor.stop()


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Raises ``SystemExit`` on SIGTERM, which would otherwise kill this process at once."""
    is_unhandled = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if not is_unhandled or threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@dataclass
class _Supervisor:
    """Supervises the processes of one attempt; the first is the chief."""

    folder: Path
    log_dir: Path
    failures: list[str]
    restarts: int
    _processes: list[ManagedProcess] = field(default_factory=list)
    _listener: threading.Thread | None = None

    def start(
        self,
        tasks: tuple[ClusterTask | None, ...],
        gpu_of: Callable[[ClusterTask | None], str | None] = lambda _: None,
    ) -> None:
        self.log_dir.mkdir(parents=True, exist_ok=True)
        read, write = os.pipe()
        self._listener = log_forwarding.listen(read)
        try:
            for index, task in enumerate(tasks):
                log_fd = write if index == 0 else None
                self._processes.append(
                    ManagedProcess.start(task, self.folder, self.log_dir, log_fd, gpu_of(task))
                )
        finally:
            os.close(write)

    def wait(self, watch: Callable[[], None] = lambda: None) -> Any:
        """Returns the chief's result.

        Raises:
            _ProcessFailure: A process failed; a restart may help.
            FeederError: A process failed for good.
        """
        while (chief := self._processes[0]).poll() is None:
            for process in self._processes[1:]:
                self._check(process)
            watch()
            time.sleep(_POLL_S)
        self._check(chief)
        self._wait_for_exit(time.monotonic() + _GRACE_S)
        return self._result(chief)

    def interrupt(self) -> None:
        """Lets the chief save a checkpoint and exit; the others then exit or are stopped."""
        if not self._processes:
            return
        chief = self._processes[0]
        chief.interrupt()
        chief.wait(_GRACE_S)
        self._wait_for_exit(time.monotonic() + _INTERRUPTED_S)

    def stop(self) -> None:
        """Kills all running processes and their children."""
        for process in self._processes:
            process.close()
        if self._listener is not None:
            self._listener.join(_GRACE_S)  # The last records may still be in the pipe.

    def _check(self, process: ManagedProcess) -> None:
        status = process.poll()
        if status is None or status == worker.DONE:
            return
        if status == worker.FEEDER_ERROR and (error := process.error()) is not None:
            raise error
        task = process.task
        if status == worker.PORT_IN_USE and task is not None:
            raise _PortTakenError(
                f"{process.name} cannot bind {task.address}: the port is in use; see its log: "
                f"{process.log}."
            )
        if task is not None and task.type == "worker" and worker.is_server(task):
            self._restart_alone(process)
            return
        if status in worker.AFTER_EXCEPTION:
            process = self._root_cause(process)
            if process.poll() == worker.FEEDER_ERROR and (error := process.error()) is not None:
                raise error
            if process.poll() in (worker.EXCEPTION, worker.FEEDER_ERROR):
                raise ProcessError(f"{process.name} failed. {process.log_tail()}")
        raise _ProcessFailure(process.exit_description())

    def _root_cause(self, process: ManagedProcess) -> ManagedProcess:
        """Returns the process whose exit explains the others'; its peers may exit before it."""
        time.sleep(_ROOT_CAUSE_S)

        def priority(other: ManagedProcess) -> int:
            status = other.poll() or worker.DONE
            causes = (
                status == worker.FEEDER_ERROR,
                status < 0,  # Killed by a signal.
                status == worker.EXCEPTION,
                True,
            )
            return causes.index(True)

        return min([process, *self._processes], key=priority)

    def _restart_alone(self, process: ManagedProcess) -> None:
        description = process.exit_description()
        if len(self.failures) >= self.restarts:
            raise _ProcessFailure(description)
        self.failures.append(f"{description} It was restarted.")
        LOGGER.warning("%s The other processes continued.", self.failures[-1])
        process.close()
        restarted = ManagedProcess.start(process.task, self.folder, self.log_dir, None, process.gpu)
        self._processes[self._processes.index(process)] = restarted

    def _result(self, chief: ManagedProcess) -> Any:
        if chief.task is not None and not chief.task.is_chief:
            return None
        try:
            return pickle.loads((self.folder / worker.RESULT_FILE).read_bytes())
        except FileNotFoundError:
            raise ProcessError(
                f"{chief.name} exited without a result. {chief.log_tail()}"
            ) from None

    def _wait_for_exit(self, deadline: float) -> None:
        """Waits for processes to exit, except servers, which do not exit by themselves."""
        for process in self._processes:
            if not worker.is_server(process.task):
                process.wait(deadline - time.monotonic())
