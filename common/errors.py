"""The exceptions of the suite: each says what was wrong with what, and how to mend it."""

import functools
from typing import Any


class FeederError(Exception):
    """Base of every exception that the suite raises on purpose."""


class ConfigError(FeederError, ValueError):
    """An argument, option or file of the user's cannot be used as it is.

    Args:
        argument: Name of the argument, option or file at fault.
        received: What was given; shown with ``repr``.
        expected: What would have been accepted.
        fix: One imperative sentence that mends it; optional.

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
        """Lets the error come back from another process."""
        arguments = {"received": self.received, "expected": self.expected, "fix": self.fix}
        return functools.partial(type(self), **arguments), (self.argument,)


class DataError(FeederError):
    """The data itself cannot be used: unreadable, or too much of it was rejected."""
