"""State that survives a crash: the pending run, its attempts, and the lock of the pipeline."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import filelock

from tfx_feeder.common.errors import FeederError
from tfx_feeder.common.files import atomic_write
from tfx_feeder.pipeline.run_plan import RunPlan, from_document, to_document

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 60.0, 6 * 3600.0


class BusyError(FeederError):
    """Raised when another process is retraining the pipeline."""


@dataclass(frozen=True, slots=True)
class PendingRun:
    """A retraining that started but has not finished.

    Args:
        plan: Plan of the run.
        count: Number of attempts, without those that were interrupted on purpose.
        began: Start of the latest attempt (UTC).
    """

    plan: RunPlan
    count: int
    began: datetime

    def wait_s(self, now: datetime) -> float:
        """Returns the seconds to wait before the next attempt.

        The pause doubles with each attempt, from one minute to six hours.
        """
        if not self.count:
            return 0.0
        pause_s = min(_FIRST_PAUSE_S * 2 ** (self.count - 1), _LONGEST_PAUSE_S)
        return max(0.0, pause_s - (now - self.began).total_seconds())


class StateFile:
    """State file and lock of the retrainings of one pipeline.

    Args:
        root: Root folder of the pipeline's output.
        pipeline: Name of the pipeline.
    """

    def __init__(self, root: Path, pipeline: str) -> None:
        folder = root / "retrain"
        self._path = folder / f"{pipeline}.json"
        self._lock_path = folder / f"{pipeline}.lock"

    def pending(self) -> PendingRun | None:
        """Returns the pending run; ``None`` if there is none."""
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return PendingRun(
            plan=from_document(document["plan"]),
            count=document["count"],
            began=datetime.fromisoformat(document["began"]),
        )

    def begin(self, plan: RunPlan) -> None:
        """Records the start of an attempt; the caller must hold the lock."""
        before = self.pending()
        count = before.count if before and before.plan == plan else 0
        self._write(PendingRun(plan, count + 1, datetime.now(timezone.utc)))

    def mark_interrupted(self) -> None:
        """Records an interruption on purpose; the next attempt starts without a pause."""
        attempt = self.pending()
        if attempt is not None:
            self._write(dataclasses.replace(attempt, count=attempt.count - 1))

    def finish(self) -> None:
        """Records that the retraining has finished."""
        self._path.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the lock, which the operating system releases if the process dies.

        Raises:
            BusyError: Another process holds the lock.
        """
        self._lock_path.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = filelock.FileLock(self._lock_path).acquire(timeout=0)
        except filelock.Timeout as error:
            raise BusyError("another process is retraining this pipeline") from error
        with held:
            yield

    def busy(self) -> str:
        """Returns a message if another process is retraining; empty if none is."""
        if not self._lock_path.exists():
            return ""
        try:
            with self.lock():
                return ""
        except BusyError as error:
            return str(error)

    def _write(self, attempt: PendingRun) -> None:
        document = {
            "plan": to_document(attempt.plan),
            "count": attempt.count,
            "began": attempt.began.isoformat(),
        }
        atomic_write(self._path, json.dumps(document))
