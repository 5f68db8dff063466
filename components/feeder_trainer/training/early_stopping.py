"""When a training cannot come up to the model that it is to replace."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import is_integer
from tfx_feeder.schemas.training_history import EpochRecord

_ROUNDING = 1e-7
"""Metrics are computed in single precision."""


@dataclass(frozen=True, slots=True)
class BaselineEarlyStopping:
    """Stops a training that cannot come up to the base model any more.

    Args:
        monitor: Metric of the validation, as in ``val_accuracy``.
        mode: ``"max"`` or ``"min"``: which way is better.
        after_epochs: Epochs before the first judgement, and the number of epochs whose gains are
            looked at; 2 or more.
        tolerance: By how much a model may be worse than the base model and still be wanted, in the
            unit of the metric.

    Raises:
        ConfigError: A value is out of range.
    """

    monitor: str
    mode: str
    after_epochs: int = 3
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.monitor, str) or not self.monitor.startswith("val_"):
            raise ConfigError(
                "give_up monitor",
                received=self.monitor,
                expected="a metric of the validation, as in 'val_accuracy'",
            )
        if self.mode not in ("max", "min"):
            raise ConfigError("give_up mode", received=self.mode, expected="max or min")
        if not is_integer(self.after_epochs) or self.after_epochs < 2:
            raise ConfigError(
                "give_up after_epochs",
                received=self.after_epochs,
                expected="an integer of 2 or more, for a gain takes two epochs to be seen",
            )
        if not 0 <= self.tolerance < math.inf:
            raise ConfigError(
                "give_up tolerance", received=self.tolerance, expected="a number of 0 or more"
            )


class Epoch(Protocol):
    """An epoch, done or planned."""

    @property
    def phase(self) -> int:
        """Index of its phase."""
        ...

    @property
    def examples(self) -> int:
        """Number of examples."""
        ...


def should_stop(
    options: BaselineEarlyStopping,
    to_beat: float,
    done: Sequence[EpochRecord],
    ahead: Sequence[Epoch] | None,
) -> str | None:
    """Says why a training should be given up.

    Args:
        options: What is watched.
        to_beat: What the base model reaches.
        done: The epochs so far.
        ahead: Those to come; ``None`` where that depends on decisions.

    Returns:
        One sentence with the figures; ``None`` while it can still be wanted.
    """
    if not ahead or len(done) < options.after_epochs:
        return None
    sign = 1 if options.mode == "max" else -1
    values = [sign * row.metrics[options.monitor] for row in done]
    if not all(map(math.isfinite, values)):
        return None
    goal = sign * to_beat - options.tolerance
    bound = attainable_upper_bound(values, done, ahead, options.after_epochs)
    if bound + _ROUNDING >= goal:
        return None
    return (
        f"Stopped early: {options.monitor} {sign * max(values):.4g} after {len(done)} epochs can "
        f"come to {sign * bound:.4g} at most in the {len(ahead)} that are left, and not to the "
        f"{sign * goal:.4g} that the base model asks for."
    )


def attainable_upper_bound(
    values: Sequence[float], done: Sequence[Epoch], ahead: Sequence[Epoch], lately: int
) -> float:
    """Returns the best value that a training can come to, in an optimistic view.

    Learning curves flatten (Domhan et al. 2015, "Speeding Up Automatic Hyperparameter Optimization
    of Deep Neural Networks by Extrapolation of Learning Curves"), so that the line through the
    steepest gain of the latest epochs lies above what is to come. It does not lie above the rise
    that a lower learning rate or a larger batch brings; so each change of phase may add as much as
    the largest gain of a later phase so far, and before any was seen, there is no bound.

    Args:
        values: What the epochs that are done came to; higher is better.
        done: These epochs.
        ahead: Those to come.
        lately: Number of gains that count as late.

    Returns:
        An upper bound; infinite where there is none yet.

    Example:
        >>> from types import SimpleNamespace
        >>> epochs = [SimpleNamespace(phase=0, examples=100)] * 5
        >>> attainable_upper_bound([0.5, 0.7, 0.75], epochs[:3], epochs[3:], lately=1)
        0.85
    """
    changes = sum(a.phase != b.phase for a, b in itertools.pairwise([done[-1], *ahead]))
    gains = _gains_of_later_phases(values, done)
    if changes and not gains:
        return math.inf
    latest = itertools.pairwise(values[-lately - 1 :])
    slope = max(0.0, *(after - before for before, after in latest))
    # An epoch of more examples may bring more.
    left = sum(max(1.0, epoch.examples / done[-1].examples) for epoch in ahead)
    return max(values) + slope * left + changes * max(0.0, 0.0, *gains)


def _gains_of_later_phases(values: Sequence[float], done: Sequence[Epoch]) -> list[float]:
    """Returns the gain of each phase but the first, from the epoch before it to its best."""
    firsts = [i for i, (a, b) in enumerate(itertools.pairwise(done), 1) if a.phase != b.phase]
    ends = [*firsts[1:], len(values)][: len(firsts)]
    return [
        max(values[first:end]) - values[first - 1] for first, end in zip(firsts, ends, strict=True)
    ]
