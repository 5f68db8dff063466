"""Decaying learning rates as plain values."""

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import check_among


@dataclass(frozen=True, slots=True)
class LearningRateDecay:
    """A learning rate that falls over the whole training.

    Args:
        kind: ``"cosine"``, ``"linear"`` or ``"exponential"``.
        learning_rate: At the start; above 0.
        final: At the end, as a fraction of ``learning_rate``; above 0, at most 1.

    Raises:
        ConfigError: A value is out of range.

    Example:
        >>> decay = LearningRateDecay("cosine", learning_rate=0.1, final=0.1)
        >>> [round(decay.rate(step, 100), 3) for step in (0, 50, 100)]
        [0.1, 0.055, 0.01]
    """

    kind: str
    learning_rate: float
    final: float = 0.01

    def __post_init__(self) -> None:
        check_among("decay", self.kind, ("cosine", "linear", "exponential"))
        _check_rate("learning_rate", self.learning_rate, math.inf)
        _check_rate("final", self.final, 1)

    def rate(self, step: int, total_steps: int) -> float:
        """Returns the learning rate at ``step`` of ``total_steps``."""
        done = step / total_steps
        if self.kind == "exponential":
            return self.learning_rate * self.final**done
        left = 1 - done if self.kind == "linear" else (1 + math.cos(math.pi * done)) / 2
        return self.learning_rate * (self.final + (1 - self.final) * left)

    def to_dict(self) -> dict[str, Any]:
        """Returns the decay as JSON and YAML can hold it."""
        return {"kind": self.kind, "learning_rate": self.learning_rate, "final": self.final}


@dataclass(frozen=True, slots=True)
class PiecewiseConstantDecay:
    """A learning rate that falls at given steps.

    Args:
        steps: Where each rate begins; the first is 0, and they rise.
        rates: Learning rates, as many as ``steps``; above 0.

    Raises:
        ConfigError: The two do not fit each other, or a value is out of range.

    Example:
        >>> PiecewiseConstantDecay([0, 1000], [0.1, 0.01]).rate(999, 2000)
        0.1
    """

    steps: Sequence[int]
    rates: Sequence[float]

    def __post_init__(self) -> None:
        steps, rates = tuple(self.steps), tuple(self.rates)
        rising = all(first < second for first, second in itertools.pairwise(steps))
        if len(steps) != len(rates) or steps[:1] != (0,) or not rising:
            raise ConfigError(
                "lr_schedule",
                received=self,
                expected="as many rates as steps, and steps that begin at 0 and rise",
            )
        for rate in rates:
            _check_rate("lr_schedule", rate, math.inf)
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "rates", rates)

    def rate(self, step: int, total_steps: int) -> float:
        """Returns the learning rate at ``step``; ``total_steps`` has no influence."""
        return self.rates[bisect.bisect_right(self.steps, step) - 1]

    def to_dict(self) -> dict[str, Any]:
        """Returns the table as JSON and YAML can hold it."""
        return {"steps": list(self.steps), "rates": list(self.rates)}


def decay_of(value: Mapping[str, Any]) -> LearningRateDecay | PiecewiseConstantDecay:
    """Reads back what ``to_dict`` of a decay wrote.

    Raises:
        ConfigError: The keys are those of no decay, or a value is out of range.
    """
    for kind, keys in (
        (LearningRateDecay, {"kind", "learning_rate", "final"}),
        (PiecewiseConstantDecay, {"steps", "rates"}),
    ):
        if set(value) == keys:
            return kind(**value)
    raise ConfigError(
        "lr_schedule",
        received=dict(value),
        expected="the keys kind, learning_rate and final, or the keys steps and rates",
    )


def _check_rate(argument: str, value: Any, most: float) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value <= most:
        bound = "" if most == math.inf else f" and at most {most}"
        raise ConfigError(argument, received=value, expected=f"a number above 0{bound}")
