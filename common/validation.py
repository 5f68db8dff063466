"""Argument checks shared by the options of every component."""

from collections.abc import Collection
from typing import Any

from tfx_feeder.common.errors import ConfigError


def is_integer(value: object) -> bool:
    """Returns True if a value is an integer but not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_among(argument: str, value: Any, choices: Collection[str]) -> None:
    """Checks that a value is one of several choices.

    Args:
        argument: Name of the argument, for the error message.
        value: Value of the argument.
        choices: Valid values.

    Raises:
        ConfigError: ``value`` is none of ``choices``.
    """
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(argument, received=value, expected=f"one of {', '.join(choices)}")


def check_at_least(argument: str, value: Any, least: int) -> None:
    """Checks that a value is an integer with a lower bound.

    Args:
        argument: Name of the argument, for the error message.
        value: Value of the argument.
        least: Smallest valid value.

    Raises:
        ConfigError: ``value`` is not an integer of ``least`` or more.
    """
    if not is_integer(value) or value < least:
        raise ConfigError(argument, received=value, expected=f"an integer of {least} or more")


def check_number_at_least_0(argument: str, value: Any) -> None:
    """Checks that a value is a nonnegative number.

    Args:
        argument: Name of the argument, for the error message.
        value: Value of the argument.

    Raises:
        ConfigError: ``value`` is not a number of 0 or more.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise ConfigError(argument, received=value, expected="a number of 0 or more")


def is_text(path: str) -> bool:
    """Returns False if a path has bytes that are not UTF-8, which ML Metadata cannot store."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
