"""How long a training will take: what single steps cost, times the steps of the schedule."""

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tfx_feeder.components.feeder_trainer.schedules.policy import Policy
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec, Schedule

PROFILE_TIME_FRACTION = 0.05
"""Share of the predicted time that a probe may take."""

_LEAST_DOUBT = 0.05
"""Share of a step's duration by which any may differ: machines are busier at one time than at
another."""


@dataclass(frozen=True, slots=True)
class StepTime:
    """What one warm step costs at one global batch size.

    Args:
        median_s: Median duration in seconds, the wait for the batch included.
        spread_s: Half of the distance between the quartiles, in seconds.
        steps: Number of steps that were measured.
    """

    median_s: float
    spread_s: float
    steps: int


@dataclass(frozen=True, slots=True)
class StepProfile:
    """What a few steps of a training showed.

    Args:
        start_s: From the decision for the strategy to the first warm step: processes, reading the
            data, making the model, tracing.
        step_s: What a step costs, by global batch size; at least one.
        eval_s: Seconds of one pass of validation; 0 where there is none.
        open_s: Seconds in which the feed is made ready for a phase.
        seconds: What the probing took.
        reused: It was measured by an earlier run.
    """

    start_s: float
    step_s: Mapping[int, StepTime]
    eval_s: float = 0.0
    open_s: float = 0.0
    seconds: float = 0.0
    reused: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Returns the probe as JSON can hold it; ``from_dict`` reads it back."""
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
        """Reads what ``to_dict`` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        step_s = {
            int(row["batch_size"]): StepTime(
                float(row["median_s"]), float(row["spread_s"]), int(row["steps"])
            )
            for row in value["steps"]
        }
        if not step_s:
            raise ValueError("a probe without steps")
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
    """How long a training will take, start and validation included, export not.

    Args:
        seconds: What is expected.
        low_s: As if every step were one of the faster quarter, or 5 % faster.
        high_s: As if every step were one of the slower quarter, or 5 % slower.
        epoch_end_s: Expected time at the end of each epoch.
    """

    seconds: float
    low_s: float
    high_s: float
    epoch_end_s: tuple[float, ...] = ()

    def fraction_elapsed(self, epochs: int) -> float:
        """Returns the share of the predicted time that is over after some epochs, 0 to 1."""
        if not epochs or not self.seconds:
            return 0.0
        return self.epoch_end_s[min(epochs, len(self.epoch_end_s)) - 1] / self.seconds


def known_epochs(schedule: Schedule | Policy, num_examples: int) -> list[EpochSpec]:
    """Returns the epochs to predict: of a policy, those of the phases that are known beforehand.

    Args:
        schedule: The phases, or the rule that makes them.
        num_examples: Examples in one pass over the training splits.

    Raises:
        ConfigError: The schedule does not fit ``num_examples``.
    """
    if not isinstance(schedule, Schedule):
        schedule = schedule.schedule(num_examples)
    return list(schedule.epoch_specs(num_examples))


def batch_sizes_to_profile(segments: Iterable[EpochSpec]) -> tuple[int, ...]:
    """Returns the smallest batch size, the largest, and the one with the most examples; sorted."""
    examples: dict[int, int] = {}
    for segment in segments:
        examples[segment.batch_size] = examples.get(segment.batch_size, 0) + segment.examples
    most = max(examples, key=lambda size: (examples[size], -size))
    return tuple(sorted({min(examples), most, max(examples)}))


def predict(
    probe: StepProfile, segments: Iterable[EpochSpec], *, drop_remainder: bool = False
) -> TimePrediction:
    """Predicts the time of a whole training.

    Args:
        probe: What its steps cost.
        segments: Its epochs; validation follows each.
        drop_remainder: Partial batches are left out, unless they are all that an epoch has.
    """
    low_s = seconds = high_s = probe.start_s
    epoch_end_s = []
    phase = None
    for segment in segments:
        fixed_s = probe.eval_s + (0.0 if segment.phase == phase else probe.open_s)
        phase = segment.phase
        full, rest = divmod(segment.examples, segment.batch_size)
        sizes = {segment.batch_size: full, rest: int(rest > 0 and not (drop_remainder and full))}
        for size, steps in sizes.items():
            if steps:
                low, middle, high = _step_range(probe.step_s, size)
                low_s, seconds, high_s = (
                    low_s + steps * low,
                    seconds + steps * middle,
                    high_s + steps * high,
                )
        low_s, seconds, high_s = (s + fixed_s for s in (low_s, seconds, high_s))
        epoch_end_s.append(seconds)
    return TimePrediction(seconds, low_s, high_s, tuple(epoch_end_s))


def ideal_scaling(probe: StepProfile, prediction: TimePrediction, replicas: int) -> TimePrediction:
    """Returns what no strategy can be faster than, on more of the same devices.

    Args:
        probe: Of a training on one device.
        prediction: Made of it; of a bound, the expected time is all that counts.
        replicas: Devices that would share the work. The start takes as long on many.
    """

    seconds = probe.start_s + (prediction.seconds - probe.start_s) / replicas
    return TimePrediction(seconds, low_s=seconds, high_s=seconds)


def _step_range(step_s: Mapping[int, StepTime], size: int) -> tuple[float, float, float]:
    """Returns the low, expected and high duration of a step at some batch size, in seconds.

    Between two sizes that were probed the duration is interpolated, and less sure the farther it
    is from either. Beyond them it lies between that of the nearest size (all of it fixed cost) and
    one in proportion to the batch (no fixed cost); the middle is expected.
    """
    known = sorted(step_s)
    at = bisect.bisect_left(known, size)
    if at < len(known) and known[at] == size:
        return _range(step_s[size])
    if at in (0, len(known)):
        nearest = known[min(at, len(known) - 1)]
        low, middle, high = _range(step_s[nearest])
        ratios = sorted((1.0, size / nearest))
        return low * ratios[0], middle * sum(ratios) / 2, high * ratios[1]
    left, right = known[at - 1], known[at]
    weight = (size - left) / (right - left)
    pairs = zip(_range(step_s[left]), _range(step_s[right]), strict=True)
    low, middle, high = ((1 - weight) * one + weight * other for one, other in pairs)
    doubt = weight * (1 - weight) * abs(step_s[right].median_s - step_s[left].median_s)
    return max(0.0, low - doubt), middle, high + doubt


def _range(time: StepTime) -> tuple[float, float, float]:
    doubt = max(time.spread_s, _LEAST_DOUBT * time.median_s)
    return max(0.0, time.median_s - doubt), time.median_s, time.median_s + doubt
