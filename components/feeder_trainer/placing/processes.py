"""Starts the processes of a training on this machine and looks after them until they are done."""

import contextlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

from tfx_feeder.components.common.errors import FeederError
from tfx_feeder.components.feeder_trainer.placing import worker
from tfx_feeder.components.feeder_trainer.placing.layout import Layout
from tfx_feeder.components.feeder_trainer.placing.task import VARIABLE, Task

Result = TypeVar("Result")
Argument = TypeVar("Argument")

LOGGER = logging.getLogger("tfx_feeder.processes")

_POLL_S = 0.05
_GRACE_S = 10.0
"""Time to end by oneself, when asked to or when the chief is done."""
_AFTERMATH_S = 2.0
"""Time in which the death behind an exception shows: who loses a peer may notice before we do."""
_TAIL_LINES = 15
_MODULE = "tfx_feeder.components.feeder_trainer.placing.worker"


class ProcessError(FeederError):
    """A process of a training failed."""


@dataclass(frozen=True)
class Ran(Generic[Result]):
    """What came of the processes.

    Args:
        result: What the chief returned.
        losses: One sentence for each time that a process went away and work began again.
    """

    result: Result
    losses: tuple[str, ...] = ()


@dataclass
class _Child:
    name: str
    task: Task | None
    log: Path
    process: subprocess.Popen[bytes]


class _LostError(Exception):
    """A process went away; the work can begin again."""


def run(
    function: Callable[[Argument, Task | None], Result],
    argument: Argument,
    layout: Layout,
    *,
    log_dir: str | Path,
    restarts: int = 3,
) -> Ran[Result]:
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

    Raises:
        FeederError: One that the function raised; or a process failed in another way, or too
            often, and the message holds the end of its log.
    """
    call = worker.Call.of(function, argument, uuid.uuid4().hex)
    losses: list[str] = []
    while True:
        with tempfile.TemporaryDirectory(prefix="tfx-feeder-") as folder:
            group = _Group(Path(folder), Path(log_dir), losses, restarts)
            worker.write(group.folder / worker.CALL_FILE, call)
            try:
                group.start(layout.tasks())
                return Ran(group.wait(), tuple(losses))
            except _LostError as error:
                if len(losses) >= restarts:
                    raise ProcessError(
                        f"The training lost a process {len(losses) + 1} times, and {restarts} "
                        f"restarts are allowed. The last time: {error}"
                    ) from error
                losses.append(str(error))
                LOGGER.warning("%s All processes start again.", error)
            finally:
                group.stop()


def run_alone(call: worker.Call, task: Task, *, log_dir: str | Path) -> Any:
    """Runs one member of a cluster that an orchestrator keeps; its peers are elsewhere.

    Args:
        call: What all members run.
        task: The place of this one.
        log_dir: Folder of its log file.

    Raises:
        FeederError: As ``run``; a lost peer is an error here, because only the orchestrator can
            start it again.
    """
    with tempfile.TemporaryDirectory(prefix="tfx-feeder-") as folder:
        group = _Group(Path(folder), Path(log_dir), [], 0)
        worker.write(group.folder / worker.CALL_FILE, call)
        try:
            group.start((task,))
            return group.wait()
        except _LostError as error:
            raise ProcessError(
                f"{error} Start the whole cluster again: the training goes on from its checkpoint."
            ) from error
        finally:
            group.stop()


@dataclass
class _Group:
    """The processes of one attempt; the first is the chief."""

    folder: Path
    log_dir: Path
    losses: list[str]
    restarts: int
    _children: list[_Child] = field(default_factory=list)

    def start(self, tasks: tuple[Task | None, ...]) -> None:
        self.log_dir.mkdir(parents=True, exist_ok=True)
        read, write = os.pipe()
        messages = Connection(read, writable=False)
        threading.Thread(target=_listen, args=(messages,), daemon=True).start()
        try:
            for index, task in enumerate(tasks):
                self._children.append(self._spawn(task, write if index == 0 else None))
        finally:
            os.close(write)

    def wait(self) -> Any:
        """Returns the chief's result.

        Raises:
            _LostError: A process went away.
            FeederError: A process failed.
        """
        chief = self._children[0]
        while chief.process.poll() is None:
            for child in self._children[1:]:
                self._check(child)
            time.sleep(_POLL_S)
        self._check(chief)
        self._await(time.monotonic() + _GRACE_S)
        return self._result()

    def stop(self) -> None:
        """Ends all that still run."""
        for ask in (subprocess.Popen.terminate, subprocess.Popen.kill):
            for child in self._children:
                if child.process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        ask(child.process)
            self._await(time.monotonic() + _GRACE_S, servers=True)
        for child in self._children:
            assert child.process.stdin is not None
            child.process.stdin.close()

    def _spawn(self, task: Task | None, messages: int | None) -> _Child:
        name = "process" if task is None else f"{task.type}-{task.index}"
        log = self.log_dir / f"{name}.log"
        environment = dict(os.environ) | {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)
        }
        environment.pop(VARIABLE, None)
        if task is not None:
            environment[VARIABLE] = task.to_json()
        if messages is not None:
            environment[worker.MESSAGES] = str(messages)
        with open(log, "ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", _MODULE, str(self.folder)],
                # A lifeline: the kernel closes it even if this process is killed.
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=() if messages is None else (messages,),
                # Ctrl-C is for this process, which ends the others in order.
                start_new_session=True,
            )
        return _Child(name, task, log, process)

    def _check(self, child: _Child) -> None:
        status = child.process.poll()
        if status is None or status == worker.DONE:
            return
        if status == worker.REFUSED:
            raise self._result()
        ending = _ending(status)
        if child.task is not None and child.task.type == "worker" and worker.is_server(child.task):
            self._revive(child, ending)
            return
        if status in (worker.FAILED, worker.LOST):
            time.sleep(_AFTERMATH_S)
            dead = [c for c in self._children if (c.process.poll() or 0) < 0]
            if dead:
                child, ending = dead[0], _ending(dead[0].process.returncode)
            elif status == worker.FAILED:
                raise ProcessError(f"{child.name} failed. The end of {child.log}:\n{_tail(child)}")
        raise _LostError(f"{child.name} {ending}; its log is {child.log}.")

    def _revive(self, child: _Child, ending: str) -> None:
        if len(self.losses) >= self.restarts:
            raise _LostError(f"{child.name} {ending}; its log is {child.log}.")
        self.losses.append(f"{child.name} {ending} and was started again.")
        LOGGER.warning("%s The others went on.", self.losses[-1])
        self._children[self._children.index(child)] = self._spawn(child.task, None)

    def _result(self) -> Any:
        return pickle.loads((self.folder / worker.RESULT_FILE).read_bytes())

    def _await(self, deadline: float, *, servers: bool = False) -> None:
        """Waits for processes to end; servers do so only when they are told."""
        for child in self._children:
            if servers or not worker.is_server(child.task):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.process.wait(max(0.0, deadline - time.monotonic()))


def _listen(messages: Connection) -> None:
    """Handles the chief's log records until there can be no more."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            record = messages.recv()
            logger = logging.getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                logger.handle(record)


def _ending(status: int) -> str:
    if status >= 0:
        return "lost the others" if status == worker.LOST else f"ended with status {status}"
    return f"was ended by {signal.Signals(-status).name}"


def _tail(child: _Child) -> str:
    lines = child.log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_TAIL_LINES:])
