"""Learning rate decays as plain values."""

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import check_among, is_integer


@dataclass(frozen=True, slots=True)
class LearningRateDecay:
    """Learning rate that decays over the whole training.

    Args:
        kind: ``"cosine"``, ``"linear"`` or ``"exponential"``.
        learning_rate: Initial learning rate; above 0.
        final: Final learning rate as a fraction of ``learning_rate``; above 0, at most 1.

    Raises:
        ConfigError: If a value is out of range.

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
        """Returns the learning rate at a step.

        Args:
            step: Step, from 0.
            total_steps: Number of steps of the whole training.
        """
        done = step / total_steps
        if self.kind == "exponential":
            return self.learning_rate * self.final**done
        left = 1 - done if self.kind == "linear" else (1 + math.cos(math.pi * done)) / 2
        return self.learning_rate * (self.final + (1 - self.final) * left)

    def to_dict(self) -> dict[str, Any]:
        """Returns the decay as a JSON-serializable dict."""
        return {"kind": self.kind, "learning_rate": self.learning_rate, "final": self.final}


@dataclass(frozen=True, slots=True)
class PiecewiseConstantDecay:
    """Learning rate that changes at given steps.

    Args:
        steps: First step of each rate; strictly increasing, starting at 0.
        rates: Learning rates, one per entry of ``steps``; above 0.

    Raises:
        ConfigError: If the lengths differ or a value is out of range.

    Example:
        >>> PiecewiseConstantDecay([0, 1000], [0.1, 0.01]).rate(999, 2000)
        0.1
    """

    steps: Sequence[int]
    rates: Sequence[float]

    def __post_init__(self) -> None:
        try:
            steps, rates = tuple(self.steps), tuple(self.rates)
        except TypeError as error:
            raise ConfigError(
                "lr_schedule", received=self, expected="lists of steps and of rates"
            ) from error
        rising = all(map(is_integer, steps)) and all(
            first < second for first, second in itertools.pairwise(steps)
        )
        if len(steps) != len(rates) or steps[:1] != (0,) or not rising:
            raise ConfigError(
                "lr_schedule",
                received=self,
                expected="as many rates as steps, and strictly increasing steps that start at 0",
            )
        for rate in rates:
            _check_rate("lr_schedule", rate, math.inf)
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "rates", rates)

    def rate(self, step: int, total_steps: int) -> float:
        """Returns the learning rate at a step.

        Args:
            step: Step, from 0.
            total_steps: Ignored; the signature is that of ``LearningRateDecay.rate``.
        """
        return self.rates[bisect.bisect_right(self.steps, step) - 1]

    def to_dict(self) -> dict[str, Any]:
        """Returns the decay as a JSON-serializable dict."""
        return {"steps": list(self.steps), "rates": list(self.rates)}


def decay_from_dict(value: Mapping[str, Any]) -> LearningRateDecay | PiecewiseConstantDecay:
    """Returns the decay that ``to_dict`` serialized.

    Raises:
        ConfigError: If the keys match no decay or a value is out of range.
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


def _check_rate(argument: str, value: Any, upper_bound: float) -> None:
    number = isinstance(value, float) or (is_integer(value) and value.bit_length() < 1024)
    if not number or value == math.inf or not 0 < value <= upper_bound:
        bound = "" if upper_bound == math.inf else f" and at most {upper_bound}"
        raise ConfigError(argument, received=value, expected=f"a number above 0{bound}")
