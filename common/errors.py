"""Exceptions of the suite. Each names the faulty argument, the value received, and the fix."""

import functools
from typing import Any


class FeederError(Exception):
    """Base class of every exception that the suite raises on purpose."""


class ConfigError(FeederError, ValueError):
    """Invalid argument, option or file.

    Args:
        argument: Name of the invalid argument, option or file.
        received: Invalid value; shown with ``repr``.
        expected: Description of the accepted values.
        fix: Imperative sentence that tells how to fix it; optional.

    Example:
        >>> raise ConfigError("batch_size", received=0, expected="an integer of 1 or more")
        Traceback (most recent call last):
        ...
        tfx_feeder.common.errors.ConfigError: batch_size: expected an integer of 1 or
        more. Received: 0.
    """

    def __init__(self, argument: str, *, received: Any, expected: str, fix: str = "") -> None:
        self.argument = argument
        self.received = received
        self.expected = expected
        self.fix = fix
        message = f"{argument}: expected {expected}. Received: {received!r}."
        super().__init__(f"{message} {fix}" if fix else message)

    def __reduce__(self) -> Any:
        """Supports pickling, so that the error crosses process boundaries."""
        arguments = {"received": self.received, "expected": self.expected, "fix": self.fix}
        return functools.partial(type(self), **arguments), (self.argument,)


class DataError(FeederError):
    """Unusable data: unreadable, or too many records were rejected."""
