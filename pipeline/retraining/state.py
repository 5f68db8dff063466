"""What has to outlast a crash: which retraining was begun, how often, and that it runs alone."""

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import filelock

from tfx_feeder.common.errors import FeederError
from tfx_feeder.pipeline.run_plan import RunPlan, from_document, to_document

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 60.0, 6 * 3600.0


class BusyError(FeederError):
    """Another process retrains."""


@dataclass(frozen=True, slots=True)
class PendingRun:
    """A retraining that was begun and has not got to its end.

    Args:
        plan: What it is to do.
        count: How often it was begun; those that were interrupted on purpose do not count.
        began: When last; UTC.
    """

    plan: RunPlan
    count: int
    began: datetime

    def wait_s(self, now: datetime) -> float:
        """Returns how long to wait before the next attempt, in seconds.

        The pause doubles with each, from a minute to six hours.
        """
        if not self.count:
            return 0.0
        pause_s = min(_FIRST_PAUSE_S * 2 ** (self.count - 1), _LONGEST_PAUSE_S)
        return max(0.0, pause_s - (now - self.began).total_seconds())


class StateFile:
    """The state of the retrainings of one pipeline.

    Args:
        root: Folder of everything that the pipeline writes.
        pipeline: Its name.
    """

    def __init__(self, root: Path, pipeline: str) -> None:
        folder = root / "retrain"
        self._path = folder / f"{pipeline}.json"
        self._lock = folder / f"{pipeline}.lock"

    def attempt(self) -> PendingRun | None:
        """Returns the retraining that has not got to its end; ``None`` where all have."""
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
        """Writes down that a retraining begins; the holder of the lock does so."""
        before = self.attempt()
        count = before.count if before and before.plan == plan else 0
        self._write(PendingRun(plan, count + 1, datetime.now(timezone.utc)))

    def interrupted(self) -> None:
        """Writes down that the retraining was interrupted on purpose; it goes on at once."""
        attempt = self.attempt()
        if attempt is not None:
            self._write(dataclasses.replace(attempt, count=attempt.count - 1))

    def end(self) -> None:
        """Writes down that the retraining got to its end."""
        self._path.unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Holds the lock. The operating system gives it back when a process dies, however it does.

        Raises:
            BusyError: Another process holds it.
        """
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = filelock.FileLock(self._lock).acquire(timeout=0)
        except filelock.Timeout as error:
            raise BusyError("another process retrains this pipeline now") from error
        with held:
            yield

    def busy(self) -> str:
        """Returns that another process retrains, in words; empty where none does."""
        if not self._lock.exists():
            return ""
        try:
            with self.alone():
                return ""
        except BusyError as error:
            return str(error)

    def _write(self, attempt: PendingRun) -> None:
        document = {
            "plan": to_document(attempt.plan),
            "count": attempt.count,
            "began": attempt.began.isoformat(),
        }
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(document), encoding="utf-8")
        os.replace(partial, self._path)
