"""Argument checks shared by the options of every component."""

from collections.abc import Collection
from typing import Any

from tfx_feeder.common.errors import ConfigError


def is_integer(value: object) -> bool:
    """Says whether a value is a whole number; ``True`` and ``False`` are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_among(argument: str, value: Any, choices: Collection[str]) -> None:
    """Raises a ``ConfigError`` unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ConfigError(argument, received=value, expected=f"one of {', '.join(choices)}")


def check_at_least(argument: str, value: Any, least: int) -> None:
    """Raises a ``ConfigError`` unless ``value`` is an integer of ``least`` or more."""
    if not is_integer(value) or value < least:
        raise ConfigError(argument, received=value, expected=f"an integer of {least} or more")


def check_number_at_least_0(argument: str, value: Any) -> None:
    """Raises a ``ConfigError`` unless ``value`` is a number of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise ConfigError(argument, received=value, expected="a number of 0 or more")
