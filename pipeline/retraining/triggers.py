"""Retraining triggers: each evaluates a snapshot and gives a reason for its result."""

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import croniter

from tfx_feeder.common.durations import format_duration
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.slice_gen.drift import DriftOptions, compare_statistics
from tfx_feeder.pipeline.retraining.snapshot import LiveModel, Snapshot
from tfx_feeder.schemas.drift_report import NO_DRIFT, NOT_TESTED

_CRON_FIELDS = 5
_CONDITION = re.compile(r"(?P<metric>\S+?)\s*(?P<sign>>=|<=|-)\s*(?P<value>\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class TriggerResult:
    """Result of a trigger.

    Args:
        fired: True if there is a reason to retrain.
        reason: Reason for or against retraining.
    """

    fired: bool
    reason: str


class Trigger(Protocol):
    """Condition for retraining."""

    def evaluate(self, snapshot: Snapshot) -> TriggerResult:
        """Evaluates the condition."""
        ...


@dataclass(frozen=True, slots=True)
class Cron:
    """Fires at scheduled times.

    Args:
        expression: Five crontab fields, such as ``"0 3 * * 1"``.
        timezone: Time zone of the expression, such as ``"Europe/Berlin"``.

    Raises:
        ConfigError: The expression or the time zone is invalid.
    """

    expression: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if not _comes_due(self.expression):
            raise ConfigError(
                "cron",
                received=self.expression,
                expected="five fields of a time that comes, as in '0 3 * * 1'",
            )
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: it is a folder.
            raise ConfigError(
                "timezone", received=self.timezone, expected="a name such as 'Europe/Berlin'"
            ) from error

    def evaluate(self, snapshot: Snapshot) -> TriggerResult:
        """Fires if no training has started since the latest scheduled time."""
        here = snapshot.now.astimezone(ZoneInfo(self.timezone))
        # The search excludes its start, so start just after now to include a time that is due now.
        due = croniter(self.expression, here + timedelta(microseconds=1)).get_prev(type(here))
        text = f"cron {self.expression!r} was due at {due:%Y-%m-%d %H:%M %Z}"
        if any(training.began >= due for training in snapshot.past_trainings[-1:]):
            return TriggerResult(False, f"{text}, and a training has started since")
        return TriggerResult(True, text)


def _comes_due(expression: str) -> bool:
    try:
        croniter(expression, datetime.now(timezone.utc)).get_prev()
    except (ValueError, TypeError, OverflowError):  # Also for a date such as 30 February.
        return False
    return expression.startswith("@") or len(expression.split()) == _CRON_FIELDS


@dataclass(frozen=True, slots=True)
class NewSpan:
    """Fires on new spans.

    Args:
        at_least: Number of new spans required.

    Raises:
        ConfigError: The number is less than 1.
    """

    at_least: int = 1

    def __post_init__(self) -> None:
        if self.at_least < 1:
            raise ConfigError("new_span", received=self.at_least, expected="1 span or more")

    def evaluate(self, snapshot: Snapshot) -> TriggerResult:
        """Fires if enough spans are newer than all spans of completed runs."""
        new = snapshot.new_spans
        plural = "s" if len(new) > 1 else ""
        names = f"new span{plural} {', '.join(map(str, new))}"
        if len(new) >= self.at_least:
            return TriggerResult(True, names)
        if new:
            return TriggerResult(False, f"{names}; waiting for {self.at_least}")
        return TriggerResult(False, "no new span")


@dataclass(frozen=True, slots=True)
class DataDrift:
    """Fires on data drift relative to the training data of the live model.

    A feature drifted if the difference is significant, corrected for the number of features, and
    its distance exceeds what chance makes one expect by a threshold; see ``compare_statistics``.

    Args:
        l_infinity: Difference in the relative frequency of a category that does not matter.
        jensen_shannon: Divergence of the distribution of a numeric feature, in bits, that does not
            matter.
        features: Names of the features to check; empty for all.
        error_rate: Probability of firing if nothing drifted, 0 to 1.

    Raises:
        ConfigError: A threshold or the error rate is out of range.
    """

    l_infinity: float = 0.02
    jensen_shannon: float = 0.01
    features: tuple[str, ...] = ()
    error_rate: float = 0.05

    def __post_init__(self) -> None:
        for value in (self.l_infinity, self.jensen_shannon, self.error_rate):
            if not 0 < value < 1:
                raise ConfigError("drift", received=value, expected="between 0 and 1")

    def evaluate(self, snapshot: Snapshot) -> TriggerResult:
        """Fires if a feature drifted."""
        newer = snapshot.newer
        if newer is None:
            return TriggerResult(False, "no newer data has been measured for drift")
        options = DriftOptions(
            l_infinity=self.l_infinity,
            jensen_shannon=self.jensen_shannon,
            error_rate=self.error_rate,
            features=self.features,
        )
        report = compare_statistics(newer.current, newer.baseline, options)
        if report.drifted:
            first, *others = report.drifted
            more = f"; and {len(others)} more" if others else ""
            return TriggerResult(True, f"drift of {first.feature}: {first.reason}{more}")
        if report.verdict == NOT_TESTED:
            missing = f", and one side lacks {', '.join(report.missing)}" if report.missing else ""
            return TriggerResult(False, f"no feature could be tested for drift{missing}")
        tested = [line for line in report.features if line.verdict == NO_DRIFT]
        closest = max(tested, key=lambda line: line.excess / (line.threshold or math.inf))
        return TriggerResult(False, f"no drift; closest is {closest.feature}: {closest.reason}")


@dataclass(frozen=True, slots=True)
class PerformanceDrop:
    """Fires if the live model no longer performs well enough.

    Args:
        metric: Name of the metric in the evaluation.
        at_least: Lower bound of the metric.
        at_most: Upper bound, for metrics to minimize.
        drop: Maximum decrease since the first evaluation of the model.

    Raises:
        ConfigError: Not exactly one of the three limits is given.
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    drop: float | None = None

    def __post_init__(self) -> None:
        given = [v for v in (self.at_least, self.at_most, self.drop) if v is not None]
        if len(given) != 1:
            raise ConfigError(
                "performance", received=given, expected="one of at_least, at_most and drop"
            )

    @classmethod
    def parse(cls, text: str) -> "PerformanceDrop":
        """Parses ``accuracy>=0.9``, ``loss<=0.4``, or ``accuracy-0.02`` for a drop.

        Raises:
            ConfigError: The text has another form.
        """
        match = _CONDITION.fullmatch(text.strip())
        if match is None:
            raise ConfigError(
                "performance",
                received=text,
                expected="a condition, as in 'accuracy>=0.9' or 'loss<=0.4', or a maximum drop, as "
                "in 'accuracy-0.02'",
            )
        name = {">=": "at_least", "<=": "at_most", "-": "drop"}[match["sign"]]
        return cls(match["metric"], **{name: float(match["value"])})

    def evaluate(self, snapshot: Snapshot) -> TriggerResult:
        """Fires if the metric of the live model violates its bound."""
        if snapshot.live is None:
            return TriggerResult(False, "no model is live")
        value = snapshot.live.metrics.get(self.metric)
        bound = self._bound(snapshot.live)
        if value is None or bound is None:
            return TriggerResult(
                False, f"{self.metric} of model {snapshot.live.id} has not been measured"
            )
        text = f"{self.metric} of model {snapshot.live.id} is {value:.4f}"
        if self.at_most is not None:
            return TriggerResult(value > bound, f"{text}; expected at most {bound:g}")
        return TriggerResult(value < bound, f"{text}; expected at least {bound:g}")

    def _bound(self, live: LiveModel) -> float | None:
        if self.drop is None:
            return self.at_least if self.at_most is None else self.at_most
        initial = live.initial_metrics.get(self.metric)
        return None if initial is None else round(initial - self.drop, 4)


@dataclass(frozen=True, slots=True)
class ModelAge:
    """Fires if the live model is too old.

    Args:
        most_s: Maximum age, in seconds.

    Raises:
        ConfigError: The age is not positive.
    """

    most_s: float

    def __post_init__(self) -> None:
        if self.most_s <= 0:
            raise ConfigError("age", received=self.most_s, expected="seconds above 0")

    def evaluate(self, snapshot: Snapshot) -> TriggerResult:
        """Fires if the live model exceeds the maximum age, or no model is live.

        A model that was trained farther than that in the future, by a wrong clock, is too old as
        well: nothing is known about its age.
        """
        if snapshot.live is None:
            return TriggerResult(True, "no model is live")
        age_s = (snapshot.now - snapshot.live.trained).total_seconds()
        text = f"model {snapshot.live.id} is {format_duration(max(age_s, 0.0))} old"
        if -age_s > self.most_s:
            text = f"model {snapshot.live.id} was trained {format_duration(-age_s)} in the future"
        limit = format_duration(self.most_s)
        return TriggerResult(abs(age_s) > self.most_s, f"{text}; at most {limit}")


@dataclass(frozen=True, slots=True)
class OnDemand:
    """Always fires, ignoring cool-down and budgets.

    Args:
        reason: Reason given by the user.

    Raises:
        ConfigError: The reason is empty.
    """

    reason: str

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ConfigError("reason", received=self.reason, expected="a reason")

    def evaluate(self, snapshot: Snapshot) -> TriggerResult:
        """Always fires."""
        return TriggerResult(True, f"by hand: {self.reason}")
