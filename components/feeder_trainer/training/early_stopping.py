"""Early stopping against a baseline: stops a run that can no longer match the base model."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import is_integer
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec
from tfx_feeder.schemas.training_history import EpochRecord

_ROUNDING = 1e-7
"""Metrics are computed in single precision."""


@dataclass(frozen=True, slots=True)
class BaselineEarlyStopping:
    """Stops a training run that can no longer match the base model.

    Args:
        monitor: Validation metric to monitor, such as ``val_accuracy``.
        mode: ``"max"`` if higher is better, ``"min"`` if lower is better.
        after_epochs: Epochs before the first check, and the number of recent gains that a check
            considers; 2 or more.
        tolerance: Acceptable regression from the base model, in the unit of the metric.

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
                "early_stopping monitor",
                received=self.monitor,
                expected="a validation metric, such as 'val_accuracy'",
            )
        if self.mode not in ("max", "min"):
            raise ConfigError("early_stopping mode", received=self.mode, expected="max or min")
        if not is_integer(self.after_epochs) or self.after_epochs < 2:
            raise ConfigError(
                "early_stopping after_epochs",
                received=self.after_epochs,
                expected="an integer of 2 or more, because a gain spans two epochs",
            )
        if not 0 <= self.tolerance < math.inf:
            raise ConfigError(
                "early_stopping tolerance",
                received=self.tolerance,
                expected="a number of 0 or more",
            )


def should_stop(
    options: BaselineEarlyStopping,
    baseline_metric: float,
    done: Sequence[EpochRecord],
    remaining: Sequence[EpochSpec] | None,
) -> str | None:
    """Returns why a run should be stopped.

    Args:
        options: Metric to monitor and tolerance.
        baseline_metric: Value of the metric that the base model reaches.
        done: Completed epochs.
        remaining: Planned epochs; ``None`` if they depend on future decisions.

    Returns:
        One sentence with the numbers; ``None`` while the run can still match the base model.
    """
    if not remaining or len(done) < options.after_epochs:
        return None
    sign = 1 if options.mode == "max" else -1
    values = [sign * row.metrics[options.monitor] for row in done]
    if not all(map(math.isfinite, values)):
        return None
    goal = sign * baseline_metric - options.tolerance
    bound = attainable_upper_bound(values, done, remaining, options.after_epochs)
    if bound + _ROUNDING >= goal:
        return None
    return (
        f"Stopped early: {options.monitor} is {sign * max(values):.4g} after {len(done)} epochs "
        f"and can reach at most {sign * bound:.4g} in the remaining {len(remaining)} epochs; the "
        f"base model requires {sign * goal:.4g}."
    )


def attainable_upper_bound(
    values: Sequence[float],
    done: Sequence[EpochRecord | EpochSpec],
    remaining: Sequence[EpochSpec],
    window: int,
) -> float:
    """Returns an optimistic upper bound on the metric at the end of a run.

    Learning curves flatten (Domhan et al. 2015, "Speeding Up Automatic Hyperparameter Optimization
    of Deep Neural Networks by Extrapolation of Learning Curves"), so the line through the steepest
    recent gain lies above the rest of the curve. It does not bound the rise after a lower learning
    rate or a larger batch. Therefore each change of phase may add as much as the largest gain of a
    later phase so far; before the first such gain there is no bound.

    Args:
        values: Metric after each completed epoch; higher is better.
        done: Completed epochs.
        remaining: Planned epochs.
        window: Number of recent gains to consider.

    Returns:
        An upper bound; infinite if there is none yet.

    Example:
        >>> epochs = [EpochSpec(0, epoch, 0.01, 10, 100 * epoch, 100) for epoch in range(5)]
        >>> attainable_upper_bound([0.5, 0.625, 0.75], epochs[:3], epochs[3:], window=1)
        1.0
    """
    changes = sum(a.phase != b.phase for a, b in itertools.pairwise([done[-1], *remaining]))
    gains = _gains_of_later_phases(values, done)
    if changes and not gains:
        return math.inf
    recent = itertools.pairwise(values[-window - 1 :])
    slope = max(0.0, *(after - before for before, after in recent))
    # An epoch with more examples may gain proportionally more.
    epochs = sum(max(1.0, epoch.examples / done[-1].examples) for epoch in remaining)
    return max(values) + slope * epochs + changes * max(0.0, 0.0, *gains)


def _gains_of_later_phases(
    values: Sequence[float], done: Sequence[EpochRecord | EpochSpec]
) -> list[float]:
    """Returns the gain of each phase but the first, from the epoch before it to its best."""
    firsts = [i for i, (a, b) in enumerate(itertools.pairwise(done), 1) if a.phase != b.phase]
    ends = [*firsts[1:], len(values)][: len(firsts)]
    return [
        max(values[first:end]) - values[first - 1] for first, end in zip(firsts, ends, strict=True)
    ]
