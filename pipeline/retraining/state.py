"""State that survives a crash: the pending run and its attempts."""

import dataclasses
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tfx_feeder.common.errors import FeederError
from tfx_feeder.common.files import atomic_write
from tfx_feeder.pipeline.ownership import PipelineLock
from tfx_feeder.pipeline.run_plan import RunPlan, from_document, to_document

_LOG = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 60.0, 6 * 3600.0


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

        The pause doubles with each attempt, from one minute to six hours. An attempt in the future
        shows that a clock was wrong, so nothing is known about its age, and there is no pause.
        """
        if not self.count or self.began > now:
            return 0.0
        pause_s = min(_FIRST_PAUSE_S * 2 ** (self.count - 1), _LONGEST_PAUSE_S)
        return max(0.0, pause_s - (now - self.began).total_seconds())


class StateFile:
    """State file of the retrainings of one pipeline, and the lock of the pipeline.

    Args:
        root: Root folder of the pipeline's output.
        pipeline: Name of the pipeline.
    """

    def __init__(self, root: Path, pipeline: str) -> None:
        folder = root / "retrain"
        self._path = folder / f"{pipeline}.json"
        self.lock = PipelineLock(root, pipeline)

    def pending(self) -> PendingRun | None:
        """Returns the pending run; ``None`` if there is none.

        A file that cannot be read is set aside, as if no run were pending.
        """
        try:
            return _parse(json.loads(self._path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, FeederError):
            aside = self._path.with_suffix(".damaged")
            try:
                os.replace(self._path, aside)
            except OSError:  # A decision may lack the right to write.
                _LOG.warning("The state of the retraining in %s cannot be read.", self._path)
                return None
            _LOG.warning("The state of the retraining could not be read; set aside as %s.", aside)
            return None

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

    def _write(self, attempt: PendingRun) -> None:
        document = {
            "plan": to_document(attempt.plan),
            "count": attempt.count,
            "began": attempt.began.isoformat(),
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(self._path, json.dumps(document))


def _parse(document: Mapping[str, Any]) -> PendingRun:
    """Parses a state file.

    Raises:
        Exception: Of several types; the document has another form.
    """
    began = datetime.fromisoformat(document["began"])
    if began.tzinfo is None or not isinstance(document["count"], int) or document["count"] < 0:
        raise ValueError(document)
    return PendingRun(plan=from_document(document["plan"]), count=document["count"], began=began)
