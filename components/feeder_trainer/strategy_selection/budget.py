"""Time and cost budget of a training run."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tfx_feeder.common.durations import parse_duration
from tfx_feeder.components.feeder_trainer.distribution.options import Auto


@dataclass(frozen=True, slots=True)
class Budget:
    """Time and cost budget of a training run.

    Args:
        time_to_train_s: Seconds from the start of the Trainer; ``None`` for no limit.
        max_cost: Maximum cost, in the unit of ``device_cost_per_hour``; ``None`` for no limit.
        device_cost_per_hour: Hourly cost of one device, by name of a strategy or by kind of
            device (``"CPU"``, ``"GPU"``, ``"TPU"``); 1 for those not listed.
        elapsed_s: Seconds since the start of the Trainer.
    """

    time_to_train_s: float | None = None
    max_cost: float | None = None
    device_cost_per_hour: Mapping[str, float] = field(default_factory=dict)
    elapsed_s: float = 0.0

    @classmethod
    def from_strategy(cls, strategy: Auto) -> "Budget":
        """Returns the budget of an ``Auto`` strategy."""
        limit = strategy.time_to_train
        return cls(
            None if limit is None else parse_duration("strategy time_to_train", limit),
            strategy.max_cost,
            strategy.device_cost_per_hour,
        )

    @property
    def remaining_s(self) -> float:
        """Remaining seconds."""
        limit = self.time_to_train_s
        return float("inf") if limit is None else limit - self.elapsed_s

    def at(self, elapsed_s: float) -> "Budget":
        """Returns the budget at a number of seconds since the start."""
        return dataclasses.replace(self, elapsed_s=elapsed_s)

    def cost(self, strategy: str, kinds: Iterable[str], seconds: float) -> float:
        """Returns the cost of devices for a duration.

        Args:
            strategy: Name of the strategy that uses the devices.
            kinds: Kind of each device.
            seconds: Duration in seconds.
        """
        prices = self.device_cost_per_hour
        per_hour = sum(prices.get(strategy, prices.get(kind, 1.0)) for kind in kinds)
        return per_hour * seconds / 3600
