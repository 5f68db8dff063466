"""What may start a retraining: each looks at the situation and says yes or no, and why."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import croniter

from tfx_feeder.common.durations import format_duration
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.metadata.drift import L_INFINITY
from tfx_feeder.pipeline.retraining.snapshot import LiveModel, Snapshot

_CONDITION = re.compile(r"(?P<metric>\S+?)\s*(?P<sign>>=|<=|-)\s*(?P<value>\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class TriggerResult:
    """What a trigger says.

    Args:
        fires: Whether there is a reason to retrain.
        text: The reason, or why there is none.
    """

    fires: bool
    text: str


class Trigger(Protocol):
    """A reason to retrain."""

    def judge(self, seen: Snapshot) -> TriggerResult:
        """Says whether a situation is a reason."""
        ...


@dataclass(frozen=True, slots=True)
class Cron:
    """Times at which to retrain.

    Args:
        expression: Five fields, as in crontab: ``"0 3 * * 1"``.
        timezone: In which they are meant, such as ``"Europe/Berlin"``.

    Raises:
        ConfigError: One of them cannot be read.
    """

    expression: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if not croniter.is_valid(self.expression):
            raise ConfigError(
                "cron", received=self.expression, expected="five fields, as in '0 3 * * 1'"
            )
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ConfigError(
                "timezone", received=self.timezone, expected="a name such as 'Europe/Berlin'"
            ) from error

    def judge(self, seen: Snapshot) -> TriggerResult:
        """Fires where no training has begun since the last of these times."""
        here = seen.now.astimezone(ZoneInfo(self.timezone))
        # A time that is now has come: the search begins right after it.
        due = croniter(self.expression, here + timedelta(microseconds=1)).get_prev(type(here))
        text = f"cron {self.expression!r} was due at {due:%Y-%m-%d %H:%M %Z}"
        if seen.trainings and seen.trainings[-1].began >= due:
            return TriggerResult(False, f"{text}, and was served")
        return TriggerResult(True, text)


@dataclass(frozen=True, slots=True)
class NewSpan:
    """New data.

    Args:
        at_least: How many spans have to have arrived.

    Raises:
        ConfigError: There is no such number of spans.
    """

    at_least: int = 1

    def __post_init__(self) -> None:
        if self.at_least < 1:
            raise ConfigError("new_span", received=self.at_least, expected="1 span or more")

    def judge(self, seen: Snapshot) -> TriggerResult:
        """Fires where enough spans are newer than all that have been trained on."""
        new = seen.new_spans
        plural = "s" if len(new) > 1 else ""
        names = f"new span{plural} {', '.join(map(str, new))}"
        if len(new) >= self.at_least:
            return TriggerResult(True, names)
        if new:
            return TriggerResult(False, f"{names}; {self.at_least} are waited for")
        return TriggerResult(False, "no new span")


@dataclass(frozen=True, slots=True)
class DataDrift:
    """Data unlike those that the live model was trained on.

    Args:
        l_infinity: Largest tolerated difference of the share of a category.
        jensen_shannon: Largest tolerated divergence of the distribution of a number, in bits.
        features: Those that count; empty: all.

    Raises:
        ConfigError: A threshold is out of range.
    """

    l_infinity: float = 0.1
    jensen_shannon: float = 0.1
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for value in (self.l_infinity, self.jensen_shannon):
            if not 0 < value < 1:
                raise ConfigError("drift", received=value, expected="between 0 and 1")

    def judge(self, seen: Snapshot) -> TriggerResult:
        """Fires where a feature is beyond its threshold."""
        counted = [d for d in seen.drift if not self.features or d.feature in self.features]
        if not counted:
            return TriggerResult(False, "no newer data has been measured for drift")
        limits = {L_INFINITY: self.l_infinity}
        worst = max(counted, key=lambda d: d.value / limits.get(d.measure, self.jensen_shannon))
        limit = limits.get(worst.measure, self.jensen_shannon)
        text = f"{worst.measure} of {worst.feature} is {worst.value:.3f}"
        if worst.value > limit:
            return TriggerResult(True, f"drift: {text}, above {limit:g}")
        return TriggerResult(False, f"no drift: {text}, at most {limit:g}")


@dataclass(frozen=True, slots=True)
class PerformanceDrop:
    """A live model that is not good enough any more.

    Args:
        metric: Its name, as the evaluation has it.
        at_least: Smallest tolerated value.
        at_most: Largest tolerated value, for what is better the lower.
        drop: Largest tolerated loss since the model was judged for the first time.

    Raises:
        ConfigError: Not exactly one of the three is given.
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
        """Reads ``accuracy>=0.9``, ``loss<=0.4``, or ``accuracy-0.02`` for a drop.

        Raises:
            ConfigError: It is none of these.
        """
        match = _CONDITION.fullmatch(text.strip())
        if match is None:
            raise ConfigError(
                "performance",
                received=text,
                expected="what is to hold, as in 'accuracy>=0.9' or 'loss<=0.4', or the largest "
                "drop, as in 'accuracy-0.02'",
            )
        name = {">=": "at_least", "<=": "at_most", "-": "drop"}[match["sign"]]
        return cls(match["metric"], **{name: float(match["value"])})

    def judge(self, seen: Snapshot) -> TriggerResult:
        """Fires where the metric of the live model is beyond its bound."""
        if seen.live is None:
            return TriggerResult(False, "no model is live whose performance could fall")
        value = seen.live.metrics.get(self.metric)
        bound = self._bound(seen.live)
        if value is None or bound is None:
            return TriggerResult(
                False, f"{self.metric} of model {seen.live.id} has not been measured"
            )
        text = f"{self.metric} of model {seen.live.id} is {value:.4f}"
        if self.at_most is not None:
            return TriggerResult(value > bound, f"{text}; at most {bound:g} is wanted")
        return TriggerResult(value < bound, f"{text}; at least {bound:g} is wanted")

    def _bound(self, live: LiveModel) -> float | None:
        if self.drop is None:
            return self.at_least if self.at_most is None else self.at_most
        then = live.metrics_then.get(self.metric)
        return None if then is None else round(then - self.drop, 4)


@dataclass(frozen=True, slots=True)
class ModelAge:
    """A live model that is old.

    Args:
        most_s: Largest tolerated age, in seconds.

    Raises:
        ConfigError: It is not above 0.
    """

    most_s: float

    def __post_init__(self) -> None:
        if self.most_s <= 0:
            raise ConfigError("age", received=self.most_s, expected="seconds above 0")

    def judge(self, seen: Snapshot) -> TriggerResult:
        """Fires where the live model is older, or none is live."""
        if seen.live is None:
            return TriggerResult(True, "no model is live")
        age_s = (seen.now - seen.live.trained).total_seconds()
        text = f"model {seen.live.id} is {format_duration(max(age_s, 0.0))} old"
        return TriggerResult(age_s > self.most_s, f"{text}; at most {format_duration(self.most_s)}")


@dataclass(frozen=True, slots=True)
class OnDemand:
    """Somebody asked for it; neither cool-down nor budget holds it back.

    Args:
        reason: In their words.

    Raises:
        ConfigError: There is none.
    """

    reason: str

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ConfigError("now", received=self.reason, expected="a reason")

    def judge(self, seen: Snapshot) -> TriggerResult:
        """Fires."""
        return TriggerResult(True, f"by hand: {self.reason}")
