"""Exclusive ownership of a pipeline below a root: one process writes, others are refused."""

import contextlib
import errno
import fcntl
import json
import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import filelock

from tfx_feeder.common.errors import FeederError
from tfx_feeder.common.files import atomic_write

_WAIT_S = 1.0
"""Seconds to wait for a lock, which a process holds for a moment when it only looks at it."""
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class BusyError(FeederError):
    """Raised when another process runs the pipeline."""


@dataclass(frozen=True, slots=True)
class PipelineLock:
    """Lock of a pipeline below a root.

    The operating system releases it when its process dies for any reason. Beside it, a record names
    the owner and the run that it began, so that the next owner can close the executions of a run
    whose process was killed.

    Args:
        root: Root folder of the pipeline's output.
        pipeline: Name of the pipeline.
    """

    root: Path
    pipeline: str

    @contextmanager
    def hold(self, command: str) -> Iterator[None]:
        """Holds the lock; a block within a block of the same thread holds it as well.

        Args:
            command: Name of the command, which other processes report.

        Raises:
            BusyError: Another process holds the lock; the message names it.
        """
        self._path("lock").parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self._path("lock"), is_singleton=True)
        try:
            lock.acquire(timeout=_WAIT_S, poll_interval=0.05)
        except filelock.Timeout as error:
            raise BusyError(self._describe_owner()) from error
        try:
            if lock.lock_counter == 1:
                try:
                    self._write(self.abandoned_runs(), command)
                except OSError as error:  # `gc` frees a full disk; a run fails when it begins.
                    if error.errno not in _NO_SPACE:
                        raise
            yield
        finally:
            if lock.lock_counter == 1 and not self.abandoned_runs():
                self._path("json").unlink(missing_ok=True)
            lock.release()

    def busy(self) -> str:
        """Returns a message if another process runs the pipeline; empty if none does."""
        try:
            lock = self._path("lock").open("rb")
        except OSError:  # There is none.
            return ""
        with lock, contextlib.suppress(OSError):  # Of a file system without locks.
            try:
                # Shared, so that it needs no right to write, and processes that look do not meet.
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return self._describe_owner()
        return ""

    def begin_run(self, run_id: str) -> None:
        """Records the run that the owner begins; its abandoned runs must have been closed."""
        self._write([run_id])

    def end_run(self) -> None:
        """Records that no execution of a run of the owner is open."""
        self._write([])

    def abandoned_runs(self) -> list[str]:
        """Returns the runs that an owner began and did not end; for the owner of the lock."""
        runs = self._read().get("runs")
        return [str(run_id) for run_id in runs] if isinstance(runs, list) else []

    def _describe_owner(self) -> str:
        record = self._read()
        try:
            since = datetime.fromisoformat(record["began"])
            owner = (
                f"`{record['command']}` (process {record['pid']} on {record['host']}, since "
                f"{since:%Y-%m-%d %H:%M})"
            )
        except (KeyError, TypeError, ValueError):
            owner = "another process"
        return (
            f"{owner} is running the pipeline {self.pipeline} in {self.root}; wait for it, or use "
            "another root"
        )

    def _read(self) -> dict[str, Any]:
        try:
            record = json.loads(self._path("json").read_text(encoding="utf-8"))
        except (OSError, ValueError):  # There is none, or it is damaged.
            return {}
        return record if isinstance(record, dict) else {}

    def _write(self, runs: Sequence[str], command: str | None = None) -> None:
        record = self._read()
        if command is not None:
            record = {
                "command": command,
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "began": datetime.now().astimezone().isoformat(),
            }
        atomic_write(self._path("json"), json.dumps({**record, "runs": list(runs)}))

    def _path(self, suffix: str) -> Path:
        name = re.sub(r"[^\w.+-]", "_", self.pipeline)
        return self.root / ".locks" / f"{name}.{suffix}"
