"""The one-line notation of a schedule: ``0.01:32x10, 0.005:64x2000steps @200``.

Each phase is ``learning_rate:batch_size x length``; a length without a unit is in epochs. An
``@`` at the end gives the steps per epoch.
"""

import re
from typing import NamedTuple, NoReturn

from tfx_feeder.components.common.errors import ConfigError

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?\d+")
_UNIT = re.compile(r"ep|steps|ex")


class ParsedSchedule(NamedTuple):
    """What the text says, not yet checked against ranges."""

    phases: list[tuple[float, int, str]]
    steps_per_epoch: int | None


def parse_schedule_text(text: str) -> ParsedSchedule:
    """Parses the one-line notation.

    Raises:
        ConfigError: The text does not follow it; the message points at the character.

    Example:
        >>> parse_schedule_text("0.01:32x10, 5e-3:64x2000steps @200").phases
        [(0.01, 32, '10ep'), (0.005, 64, '2000steps')]
    """
    reader = _Reader(text)
    phases = []
    steps_per_epoch = None
    while True:
        rate = float(reader.take(_NUMBER, "a learning rate such as 0.01"))
        reader.expect(":", "':' between learning rate and batch size")
        batch = int(reader.take(_INTEGER, "a batch size such as 32"))
        reader.expect("x", "'x' between batch size and length")
        amount = reader.take(_INTEGER, "a length such as 10, 10ep, 2000steps or 50000ex")
        unit = reader.take_if(_UNIT) or "ep"
        phases.append((rate, batch, f"{amount}{unit}"))
        if reader.take_if(re.compile(",")) is None:
            break
    if reader.take_if(re.compile("@")) is not None:
        steps_per_epoch = int(reader.take(_INTEGER, "the steps per epoch, such as 200"))
    if not reader.at_end():
        reader.fail("',' and another phase, '@' and the steps per epoch, or the end")
    return ParsedSchedule(phases, steps_per_epoch)


class _Reader:
    """Takes tokens off the front of a text and remembers where it is."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def at_end(self) -> bool:
        self._skip_blanks()
        return self._position == len(self._text)

    def take_if(self, pattern: re.Pattern[str]) -> str | None:
        self._skip_blanks()
        match = pattern.match(self._text, self._position)
        if match is None:
            return None
        self._position = match.end()
        return match.group()

    def take(self, pattern: re.Pattern[str], expected: str) -> str:
        token = self.take_if(pattern)
        if token is None:
            self.fail(expected)
        return token

    def expect(self, literal: str, expected: str) -> None:
        self.take(re.compile(re.escape(literal)), expected)

    def fail(self, expected: str) -> NoReturn:
        begin = self._text.rfind("\n", 0, self._position) + 1
        line = self._text[begin:].partition("\n")[0]
        pointer = " " * (self._position - begin) + "^"
        raise ConfigError(
            "schedule",
            received=self._text,
            expected=f"{expected} at character {self._position + 1}",
            fix=f"\n  {line}\n  {pointer}",
        )

    def _skip_blanks(self) -> None:
        while self._text[self._position : self._position + 1].isspace():
            self._position += 1
