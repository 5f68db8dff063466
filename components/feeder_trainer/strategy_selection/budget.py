"""What a training may take: time, and money."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tfx_feeder.common.durations import parse_duration
from tfx_feeder.components.feeder_trainer.distribution.options import Auto


@dataclass(frozen=True, slots=True)
class Budget:
    """What a training may take.

    Args:
        time_to_train_s: Seconds from the start of the Trainer; ``None``: any.
        max_cost: Highest cost, in the unit of the following; ``None``: any.
        device_cost_per_hour: Cost of one device for an hour, by name of a strategy or by kind of
            device (``"CPU"``, ``"GPU"``, ``"TPU"``); 1 where neither is named.
        elapsed_s: Seconds since the start of the Trainer.
    """

    time_to_train_s: float | None = None
    max_cost: float | None = None
    device_cost_per_hour: Mapping[str, float] = field(default_factory=dict)
    elapsed_s: float = 0.0

    @classmethod
    def from_strategy(cls, strategy: Auto) -> "Budget":
        """Returns what ``Auto`` was given."""
        limit = strategy.time_to_train
        return cls(
            None if limit is None else parse_duration("strategy time_to_train", limit),
            strategy.max_cost,
            strategy.device_cost_per_hour,
        )

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        limit = self.time_to_train_s
        return float("inf") if limit is None else limit - self.elapsed_s

    def after(self, elapsed_s: float) -> "Budget":
        """Returns the same with another time since the start."""
        return dataclasses.replace(self, elapsed_s=elapsed_s)

    def cost(self, strategy: str, kinds: Iterable[str], seconds: float) -> float:
        """Returns what devices cost for some seconds.

        Args:
            strategy: That uses them.
            kinds: Of each device.
            seconds: How long.
        """
        prices = self.device_cost_per_hour
        per_hour = sum(prices.get(strategy, prices.get(kind, 1.0)) for kind in kinds)
        return per_hour * seconds / 3600
