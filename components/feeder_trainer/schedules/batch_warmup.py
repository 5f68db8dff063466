"""Policy that warms up the batch size."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import check_among, check_at_least
from tfx_feeder.components.feeder_trainer.schedules.length import Length
from tfx_feeder.components.feeder_trainer.schedules.lr_scaling import EXPONENT_OF_RULE
from tfx_feeder.components.feeder_trainer.schedules.policy import Policy
from tfx_feeder.components.feeder_trainer.schedules.schedule import (
    Phase,
    Schedule,
    check_steps_per_epoch,
)


@dataclass(frozen=True, slots=True)
class BatchWarmup(Policy):
    """Starts with a small batch and multiplies it until it reaches its full size.

    The critical batch size, above which examples are wasted, starts near 0, grows quickly and then
    levels off (Merrill et al. 2025, "Critical Batch Size Revisited"). All phases of the warm-up
    have the same number of steps, so the batch size grows in proportion to the examples seen.

    Args:
        start: Learning rate and batch size of the first phase, and length of the whole training.
        end: Global batch size after the warm-up, in examples.
        over: Length of the warm-up. Steps, here and in the length of ``start``, are counted at the
            batch size of ``start``.
        factor: Factor of the batch size increase between phases; 2 or more.
        lr_rule: Scaling of the learning rate with the batch size: ``"sqrt"`` (as in the paper, for
            Adam), ``"linear"`` (for SGD) or ``"none"``.
        steps_per_epoch: Number of steps per epoch; ``None`` for one pass over the data.

    Raises:
        ConfigError: If a value is out of range.

    Example:
        >>> policy = BatchWarmup((0.01, 32, "10ep"), end=128, over="3ep")
        >>> str(policy.schedule(num_examples=3200))
        '0.01:32x3200ex, 0.014142135623730952:64x6400ex, 0.02:128x22400ex'
    """

    NAME: ClassVar[str] = "batch_warmup"
    TEXT_OPTIONS: ClassVar[Mapping[str, str]] = {
        "end": "end",
        "over": "over",
        "factor": "factor",
        "lr_rule": "lr_rule",
    }

    start: Phase
    end: int
    over: Length
    factor: int = 2
    lr_rule: str = "sqrt"
    steps_per_epoch: int | None = None

    def __post_init__(self) -> None:
        start = Phase.from_value(self.start)
        check_at_least("end", self.end, start.batch_size + 1)
        check_at_least("factor", self.factor, 2)
        check_among("lr_rule", self.lr_rule, EXPONENT_OF_RULE)
        check_steps_per_epoch(self.steps_per_epoch)
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "over", Length.from_value(self.over))

    def schedule(self, num_examples: int) -> Schedule:
        """Returns the phases; see ``Policy``."""
        first = self.start.batch_size
        sizes = itertools.takewhile(
            lambda size: size < self.end, (first * self.factor**i for i in itertools.count())
        )
        warmup = list(sizes)
        total, over = (
            self._examples(part, num_examples) for part in (self.start.length, self.over)
        )
        if over >= total or sum(warmup) >= total:
            raise ConfigError(
                "over",
                received=str(self.over),
                expected=f"a warm-up that ends within {self.start.length} ({total} examples)",
            )
        steps = max(1, over // sum(warmup))
        left = total - steps * sum(warmup)
        lengths = [steps * size for size in warmup] + [left]
        return Schedule(
            [
                Phase(self._rate(size), size, Length(length, "ex"))
                for size, length in zip([*warmup, self.end], lengths, strict=True)
            ],
            self.steps_per_epoch,
        )

    def _examples(self, length: Length, num_examples: int) -> int:
        batch, steps = self.start.batch_size, self.steps_per_epoch
        epoch_examples = num_examples if steps is None else steps * batch
        return length.in_examples(batch_size=batch, epoch_examples=epoch_examples)

    def _rate(self, batch_size: int) -> float:
        growth = batch_size / self.start.batch_size
        return self.start.learning_rate * growth ** EXPONENT_OF_RULE[self.lr_rule]
