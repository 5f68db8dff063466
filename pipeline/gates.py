"""What a model has to reach before it is pushed."""

import math
from dataclasses import dataclass

from tfx_feeder.common.errors import ConfigError

METRIC = "accuracy"


@dataclass(frozen=True, slots=True)
class Gates:
    """Least accuracies, 0 to 1.

    Args:
        least: Over all evaluation examples.
        least_per_slice: Over each slice. Slices hold few examples: leave room for chance.
        largest_drop: How much lower than the latest blessed model's the accuracy over all
            examples may be.

    Raises:
        ConfigError: A value is not between 0 and 1.
    """

    least: float = 0.9
    least_per_slice: float = 0.6
    largest_drop: float = 0.02

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= 1):
                raise ConfigError(f"gates {name}", received=value, expected="a number from 0 to 1")

    @classmethod
    def for_classes(cls, num_classes: int) -> "Gates":
        """Returns gates for data of which nothing else is known.

        Overall a model has to come half the way from guessing to perfection, in every slice it
        has to be as good as guessing.
        """
        chance = 1 / num_classes
        return cls(least=(1 + chance) / 2, least_per_slice=chance)
