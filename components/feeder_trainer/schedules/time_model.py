"""Time model of a training: measured step times, extrapolated over the steps of the schedule."""

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tfx_feeder.components.feeder_trainer.schedules.policy import Policy
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec, Schedule

PROFILE_TIME_FRACTION = 0.05
"""Fraction of the predicted training time that profiling may take."""

_MIN_UNCERTAINTY = 0.05
"""Minimum relative uncertainty of a step time, because the load of a machine varies."""


@dataclass(frozen=True, slots=True)
class StepTime:
    """Duration of a warm step at one global batch size.

    Args:
        median_s: Median duration in seconds, including the wait for the batch.
        spread_s: Half of the interquartile range in seconds.
        steps: Number of measured steps.
    """

    median_s: float
    spread_s: float
    steps: int


@dataclass(frozen=True, slots=True)
class StepProfile:
    """Measurements of a few steps of a training.

    Args:
        start_s: Seconds from the selection of the strategy to the first warm step, including
            process startup, reading the data, building the model, and tracing.
        step_s: Step times by global batch size; at least one.
        eval_s: Seconds of one validation pass; 0 without validation.
        open_s: Seconds to open the feed for a phase.
        seconds: Duration of the profiling in seconds.
        reused: True if the profile was measured by an earlier run.
    """

    start_s: float
    step_s: Mapping[int, StepTime]
    eval_s: float = 0.0
    open_s: float = 0.0
    seconds: float = 0.0
    reused: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Returns the profile as a JSON-serializable dict, the inverse of ``from_dict``."""
        return {
            "start_s": self.start_s,
            "steps": [
                {
                    "batch_size": size,
                    "median_s": time.median_s,
                    "spread_s": time.spread_s,
                    "steps": time.steps,
                }
                for size, time in sorted(self.step_s.items())
            ],
            "eval_s": self.eval_s,
            "open_s": self.open_s,
            "seconds": self.seconds,
            "reused": self.reused,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "StepProfile":
        """Returns the profile that ``to_dict`` serialized.

        Raises:
            KeyError, TypeError, ValueError: If the value is not a serialized profile.
        """
        step_s = {
            int(row["batch_size"]): StepTime(
                float(row["median_s"]), float(row["spread_s"]), int(row["steps"])
            )
            for row in value["steps"]
        }
        if not step_s:
            raise ValueError("profile without steps")
        return cls(
            float(value["start_s"]),
            step_s,
            float(value["eval_s"]),
            float(value["open_s"]),
            float(value["seconds"]),
            bool(value["reused"]),
        )


@dataclass(frozen=True, slots=True)
class TimePrediction:
    """Predicted duration of a training, including startup and validation but not the export.

    Args:
        seconds: Expected duration in seconds.
        low_s: Lower bound in seconds, based on the first quartile of the step times, or on steps
            5 % faster than the median if that is less.
        high_s: Upper bound in seconds, based on the third quartile of the step times, or on steps
            5 % slower than the median if that is more.
        epoch_end_s: Expected time at the end of each epoch, in seconds from the start.
    """

    seconds: float
    low_s: float
    high_s: float
    epoch_end_s: tuple[float, ...] = ()

    def fraction_elapsed(self, epochs: int) -> float:
        """Returns the elapsed fraction of the predicted time after ``epochs`` epochs, 0 to 1."""
        if not epochs or not self.seconds:
            return 0.0
        return self.epoch_end_s[min(epochs, len(self.epoch_end_s)) - 1] / self.seconds


def known_epochs(schedule: Schedule | Policy, num_examples: int) -> list[EpochSpec]:
    """Returns the epochs known before training; for a policy, those of the known phases.

    Args:
        schedule: Schedule, or policy that generates its phases.
        num_examples: Number of examples in one pass over the training splits.

    Raises:
        ConfigError: If the schedule does not fit ``num_examples``.
    """
    if not isinstance(schedule, Schedule):
        schedule = schedule.schedule(num_examples)
    return list(schedule.epoch_specs(num_examples))


def batch_sizes_to_profile(epochs: Iterable[EpochSpec]) -> tuple[int, ...]:
    """Returns the smallest, the largest and the most used batch size, in ascending order."""
    examples: dict[int, int] = {}
    for epoch in epochs:
        examples[epoch.batch_size] = examples.get(epoch.batch_size, 0) + epoch.examples
    most_used = max(examples, key=lambda size: (examples[size], -size))
    return tuple(sorted({min(examples), most_used, max(examples)}))


def predict(
    profile: StepProfile, epochs: Iterable[EpochSpec], *, drop_remainder: bool = False
) -> TimePrediction:
    """Returns the predicted duration of a whole training.

    Args:
        profile: Measured step times.
        epochs: Epochs of the training, each followed by validation.
        drop_remainder: If True, partial batches are dropped, unless an epoch has no other.
    """
    low_s = seconds = high_s = profile.start_s
    epoch_end_s = []
    phase = None
    for epoch in epochs:
        fixed_s = profile.eval_s + (0.0 if epoch.phase == phase else profile.open_s)
        phase = epoch.phase
        full, rest = divmod(epoch.examples, epoch.batch_size)
        sizes = {epoch.batch_size: full, rest: int(rest > 0 and not (drop_remainder and full))}
        for size, steps in sizes.items():
            if steps:
                low, mid, high = _step_range(profile.step_s, size)
                low_s, seconds, high_s = (
                    low_s + steps * low,
                    seconds + steps * mid,
                    high_s + steps * high,
                )
        low_s, seconds, high_s = (s + fixed_s for s in (low_s, seconds, high_s))
        epoch_end_s.append(seconds)
    return TimePrediction(seconds, low_s, high_s, tuple(epoch_end_s))


def ideal_scaling(
    profile: StepProfile, prediction: TimePrediction, replicas: int
) -> TimePrediction:
    """Returns the lower bound of the duration on several identical devices.

    Args:
        profile: Profile on one device.
        prediction: Prediction based on that profile; only its expected duration is used.
        replicas: Number of devices that share the work. Startup does not scale with it.
    """
    seconds = profile.start_s + (prediction.seconds - profile.start_s) / replicas
    return TimePrediction(seconds, low_s=seconds, high_s=seconds)


def _step_range(step_s: Mapping[int, StepTime], size: int) -> tuple[float, float, float]:
    """Returns the low, expected and high duration of a step at one batch size, in seconds.

    Between two measured sizes, the duration is interpolated, with an uncertainty that grows with
    the distance from both. Outside of the measured range, it lies between the duration at the
    nearest size (only fixed cost) and a duration proportional to the batch size (no fixed cost);
    the expected value is the midpoint.
    """
    known = sorted(step_s)
    at = bisect.bisect_left(known, size)
    if at < len(known) and known[at] == size:
        return _range(step_s[size])
    if at in (0, len(known)):
        nearest = known[min(at, len(known) - 1)]
        low, mid, high = _range(step_s[nearest])
        ratios = sorted((1.0, size / nearest))
        return low * ratios[0], mid * sum(ratios) / 2, high * ratios[1]
    left, right = known[at - 1], known[at]
    weight = (size - left) / (right - left)
    pairs = zip(_range(step_s[left]), _range(step_s[right]), strict=True)
    low, mid, high = ((1 - weight) * a + weight * b for a, b in pairs)
    uncertainty = weight * (1 - weight) * abs(step_s[right].median_s - step_s[left].median_s)
    return max(0.0, low - uncertainty), mid, high + uncertainty


def _range(time: StepTime) -> tuple[float, float, float]:
    uncertainty = max(time.spread_s, _MIN_UNCERTAINTY * time.median_s)
    return max(0.0, time.median_s - uncertainty), time.median_s, time.median_s + uncertainty
