"""Gives a schedule or policy another initial learning rate, such as a tuned one."""

from collections.abc import Iterator, Mapping
from typing import Any

from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule
from tfx_feeder.components.feeder_trainer.schedules.policy import Policy
from tfx_feeder.components.feeder_trainer.schedules.schedule import Phase, Schedule

_INITIAL, _TABLE, _BOUND = "learning_rate", "rates", "min_learning_rate"
"""Keys of learning rates in the JSON form of schedules and policies."""


def with_learning_rate(schedule: Schedule | Policy, learning_rate: float) -> Schedule | Policy:
    """Returns a schedule with another initial learning rate; all rates keep their ratio.

    Args:
        schedule: Schedule or policy.
        learning_rate: Initial learning rate; above 0.

    Raises:
        ConfigError: If ``learning_rate`` is not a number above 0.

    Example:
        >>> from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule
        >>> str(with_learning_rate(parse_schedule("0.01:32x10, 0.005:64x10"), 0.002))
        '0.002:32x10ep, 0.001:64x10ep'
    """
    new = Phase.from_value((learning_rate, 1, 1)).learning_rate  # Checks the value.
    value = schedule.to_dict()
    return parse_schedule(_scaled(value, new, next(_rates(value))))


def _rates(value: Any, key: str = "") -> Iterator[float]:
    """Yields the learning rates in nested dicts and lists, in order, bounds excluded."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _rates(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _rates(item, key)
    elif key in (_INITIAL, _TABLE):
        yield value


def _scaled(value: Any, new: float, old: float, key: str = "") -> Any:
    """Multiplies the learning rates in nested dicts and lists by ``new / old``."""
    if isinstance(value, Mapping):
        return {name: _scaled(item, new, old, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_scaled(item, new, old, key) for item in value]
    return value / old * new if key in (_INITIAL, _TABLE, _BOUND) else value
