"""Exceptions of the suite. Each names the faulty argument, the value received, and the fix."""

import functools
import reprlib
from typing import Any

_MOST_CHARACTERS = 1_900
_MOST_BITS = 1_024


class FeederError(Exception):
    """Base class of every exception that the suite raises on purpose.

    Its text is bounded and printable, whatever the data contains that it quotes.
    """

    def __str__(self) -> str:
        return printable(_shorten(super().__str__(), _MOST_CHARACTERS))


class ConfigError(FeederError, ValueError):
    """Invalid argument, option or file.

    Args:
        argument: Name of the invalid argument, option or file.
        received: Invalid value; shown with ``repr``, large values abbreviated.
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
        message = f"{argument}: expected {expected}. Received: {_short_repr(received)}."
        super().__init__(f"{message} {fix}" if fix else message)

    def __reduce__(self) -> Any:
        """Supports pickling, so that the error crosses process boundaries."""
        arguments = {"received": self.received, "expected": self.expected, "fix": self.fix}
        return functools.partial(type(self), **arguments), (self.argument,)


class DataError(FeederError):
    """Unusable data: unreadable, or too many records were rejected."""


class _ShortRepr(reprlib.Repr):
    """``repr`` of bounded length: nested YAML aliases of 300 bytes can stand for 60 MB."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = 20
        self.maxstring = self.maxother = 500

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        """Keeps the order of the keys."""
        if level <= 0:
            return "{...}" if x else "{}"
        shown = [
            f"{self.repr1(k, level - 1)}: {self.repr1(x[k], level - 1)}"
            for k in list(x)[: self.maxdict]
        ]
        return "{" + ", ".join(shown + ["..."] * (len(x) > self.maxdict)) + "}"

    def repr_int(self, x: int, level: int) -> str:
        """Does not convert numbers of more digits than Python is willing to."""
        if x.bit_length() > _MOST_BITS:
            return f"<integer of {x.bit_length()} bits>"
        return super().repr_int(x, level)


def _short_repr(value: Any) -> str:
    text = _ShortRepr().repr(value)
    return _shorten(text, _MOST_CHARACTERS // 2)


def _shorten(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    half = (most - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def printable(text: str) -> str:
    """Escapes what would control a terminal, and bytes of file names that are not UTF-8.

    Args:
        text: Text from a file, or with the name of one; line breaks stay.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character == "\n"
        else character.encode("unicode_escape").decode()
        for character in text
    )
