"""Handle of one training process in the process that started it."""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tfx_feeder.common.errors import FeederError
from tfx_feeder.components.feeder_trainer.distribution.cluster import (
    GPU_VARIABLE,
    NO_GPUS,
    VARIABLE,
    ClusterTask,
)
from tfx_feeder.components.feeder_trainer.distribution.launcher import log_forwarding, worker

_TAIL_LINES = 15


@dataclass
class ManagedProcess:
    """Child process that runs ``worker.py``. Created by ``start``.

    Args:
        task: Task of the process; ``None`` without a cluster.
        folder: Folder with the work item, in which the process writes its result.
        log: Log file with the complete output of the process.
        process: Handle of the child process.
        gpu: GPU of the process; see ``ProcessTopology.gpu_of``.
    """

    task: ClusterTask | None
    folder: Path
    log: Path
    process: subprocess.Popen[bytes]
    gpu: str | None = None
    _reaped: bool = False

    @classmethod
    def start(
        cls,
        task: ClusterTask | None,
        folder: Path,
        log_dir: Path,
        log_fd: int | None,
        gpu: str | None = None,
    ) -> "ManagedProcess":
        """Starts a process.

        Args:
            task: Task of the process; ``None`` without a cluster.
            folder: Folder with the work item.
            log_dir: Folder of the log file.
            log_fd: File descriptor for log records to forward, or ``None``.
            gpu: GPU of the process; see ``ProcessTopology.gpu_of``.
        """
        log = log_dir / f"{_name(task)}.log"
        environment = dict(os.environ) | {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)
        }
        environment.pop(VARIABLE, None)
        if task is not None:
            environment[VARIABLE] = task.to_json()
        if gpu is not None:
            environment[GPU_VARIABLE] = gpu or NO_GPUS
        if log_fd is not None:
            environment[log_forwarding.VARIABLE] = str(log_fd)
        with open(log, "ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", worker.__name__, str(folder)],
                # The child exits when this pipe closes: the kernel closes it even if this process
                # is killed.
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=() if log_fd is None else (log_fd,),
                # Ctrl-C reaches this process only, which then shuts its children down in order.
                start_new_session=True,
            )
        return cls(task, folder, log, process, gpu)

    @property
    def name(self) -> str:
        """Name of the process, as in ``worker-0``."""
        return _name(self.task)

    def poll(self) -> int | None:
        """Returns the exit status, or ``None`` while the process runs.

        After its exit, the processes that it started are killed.
        """
        status = self.process.poll()
        if status is not None and not self._reaped:
            # Immediately, before another process can get the same process group ID.
            self._reaped = True
            self._signal(signal.SIGKILL)
        return status

    def wait(self, timeout_s: float) -> None:
        """Waits until the process exits, at most ``timeout_s`` seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, timeout_s))
        self.poll()

    def interrupt(self) -> None:
        """Sends SIGTERM to a running process, but not to its children, which it may still need."""
        if self.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """Kills the process unconditionally."""
        if self.poll() is None:
            self._signal(signal.SIGKILL)
            self.process.wait()
            self.poll()
        assert self.process.stdin is not None
        self.process.stdin.close()

    def error(self) -> FeederError | None:
        """Returns the ``FeederError`` that ended the process, if it left a readable one."""
        try:
            return pickle.loads((self.folder / worker.ERROR_FILE).read_bytes())
        except Exception:  # Unpickling runs code of the error's class, which may raise anything.
            return None

    def exit_description(self) -> str:
        """Returns a sentence that describes how the process exited."""
        status = self.process.returncode
        if status < 0:
            how = f"was killed by {signal.Signals(-status).name}"
        elif status == worker.PEER_FAILED:
            how = "lost its connection to another process"
        else:
            how = f"exited with status {status}"
        return f"{self.name} {how}; see its log: {self.log}."

    def log_tail(self) -> str:
        """Returns the last lines of the log, with its path."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"Last lines of {self.log}:", *lines[-_TAIL_LINES:]])

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def _name(task: ClusterTask | None) -> str:
    return "process" if task is None else f"{task.type}-{task.index}"
