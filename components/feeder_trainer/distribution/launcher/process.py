"""One process of a training, as the process that started it sees it."""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tfx_feeder.common.errors import FeederError
from tfx_feeder.components.feeder_trainer.distribution.cluster import VARIABLE, ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.launcher import log_forwarding, worker

_TAIL_LINES = 15


@dataclass
class ManagedProcess:
    """A process that runs ``worker.py``. Made by ``start``.

    Args:
        task: Its place; ``None`` where there is no cluster.
        folder: Where it finds its call, and leaves what came of it.
        log: File of all that it writes.
        process: Itself.
    """

    task: ClusterTask | None
    folder: Path
    log: Path
    process: subprocess.Popen[bytes]
    _swept: bool = False

    @classmethod
    def start(
        cls, task: ClusterTask | None, folder: Path, log_dir: Path, records: int | None
    ) -> "ManagedProcess":
        """Starts a process.

        Args:
            task: Its place.
            folder: With the file of its call.
            log_dir: Folder of its log.
            records: File descriptor for its log records, or ``None``.
        """
        log = log_dir / f"{_name(task)}.log"
        environment = dict(os.environ) | {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)
        }
        environment.pop(VARIABLE, None)
        if task is not None:
            environment[VARIABLE] = task.to_json()
        if records is not None:
            environment[log_forwarding.VARIABLE] = str(records)
        with open(log, "ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", worker.__name__, str(folder)],
                # A lifeline: the kernel closes it even if this process is killed.
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=() if records is None else (records,),
                # Ctrl-C is for this process, which ends the others in order.
                start_new_session=True,
            )
        return cls(task, folder, log, process)

    @property
    def name(self) -> str:
        """As in ``worker-0``."""
        return _name(self.task)

    @property
    def address(self) -> str:
        """Where it listens."""
        return "" if self.task is None else self.task.cluster[self.task.type][self.task.index]

    def poll(self) -> int | None:
        """Returns the exit status once there is one; then what it had started is ended as well."""
        status = self.process.poll()
        if status is not None and not self._swept:
            # At once, while no other process can have got its id.
            self._swept = True
            self._signal(signal.SIGKILL)
        return status

    def await_end(self, seconds: float) -> None:
        """Waits for the end, but not longer than this."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, seconds))
        self.poll()

    def terminate(self) -> None:
        """Asks it to end, unless it has."""
        if self.poll() is None:
            self._signal(signal.SIGTERM)

    def close(self) -> None:
        """Ends it whatever it does."""
        if self.poll() is None:
            self._signal(signal.SIGKILL)
            self.process.wait()
            self.poll()
        assert self.process.stdin is not None
        self.process.stdin.close()

    def error(self) -> FeederError | None:
        """Returns the error of the suite that ended it, if it left one that can be read."""
        try:
            return pickle.loads((self.folder / worker.ERROR_FILE).read_bytes())
        except Exception:  # Unpickling runs whatever code the error's class has.
            return None

    def ending(self) -> str:
        """Says how it ended, in a sentence."""
        status = self.process.returncode
        if status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
        else:
            how = "lost the others" if status == worker.LOST else f"ended with status {status}"
        return f"{self.name} {how}; its log is {self.log}."

    def tail(self) -> str:
        """Returns the end of the log, with its path."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"The end of {self.log}:", *lines[-_TAIL_LINES:]])

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def _name(task: ClusterTask | None) -> str:
    return "process" if task is None else f"{task.type}-{task.index}"
