"""Grammar of the one-line notation of schedules and policies.

A schedule is a list of phases: ``0.01:32x10, 0.005:64x2000steps @200``. Each phase is
``learning_rate:batch_size x length``; a length without a unit is in epochs. An optional ``@`` at
the end sets the steps per epoch.

A policy is a name, a first phase, and options:
``on_plateau 0.01:32x30 max=512 patience=5 @200``.
"""

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple, NoReturn

from tfx_feeder.common.errors import ConfigError

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?\d+")
_UNIT = re.compile(r"ep|steps|ex")
_COMMA = re.compile(",")
_AT = re.compile("@")
_NAME = re.compile(r"[A-Za-z_]\w*")
_VALUE = re.compile(r"[^\s@]+")
_MOST_DIGITS = 18
_SHOWN_CHARACTERS = 60

ParsedPhase = tuple[float, int, str]
"""Learning rate, batch size, and length with unit."""


class ParsedSchedule(NamedTuple):
    """Parsed schedule text, before range checks."""

    phases: list[ParsedPhase]
    steps_per_epoch: int | None


class ParsedPolicy(NamedTuple):
    """Parsed policy text, before range checks."""

    name: str
    start: ParsedPhase
    options: dict[str, int | float | str]
    steps_per_epoch: int | None


def parse_schedule_text(text: str) -> ParsedSchedule:
    """Parses the one-line notation of a schedule.

    Raises:
        ConfigError: If the text is invalid; the message points at the offending character.

    Example:
        >>> parse_schedule_text("0.01:32x10, 5e-3:64x2000steps @200").phases
        [(0.01, 32, '10ep'), (0.005, 64, '2000steps')]
    """
    reader = _Reader(text)
    phases = [_take_phase(reader)]
    while reader.take_if(_COMMA) is not None:
        phases.append(_take_phase(reader))
    steps_per_epoch = _take_end(reader, "',' and another phase")
    return ParsedSchedule(phases, steps_per_epoch)


def parse_policy_text(text: str, options: Mapping[str, Collection[str]]) -> ParsedPolicy:
    """Parses the one-line notation of a policy.

    Args:
        text: Text of a policy.
        options: Names of the options of each policy, by policy name.

    Raises:
        ConfigError: If the text is invalid; the message points at the offending character.

    Example:
        >>> parse_policy_text("on_plateau 0.01:32x30 max=512 @200", {"on_plateau": ["max"]})
        ParsedPolicy(name='on_plateau', start=(0.01, 32, '30ep'), options={'max': 512}, \
steps_per_epoch=200)
    """
    reader = _Reader(text)
    name = reader.take_among(options, "a learning rate or a policy")
    start = _take_phase(reader)
    given: dict[str, int | float | str] = {}
    while not reader.at_end() and not reader.sees("@"):
        unused = [option for option in options[name] if option not in given]
        option = reader.take_among(unused, "'@' and the steps per epoch, or an option")
        reader.expect("=", f"'=' after {option}")
        given[option] = _number_or_word(reader.take(_VALUE, f"the value of {option}"))
    return ParsedPolicy(name, start, given, _take_end(reader, "an option"))


def _take_phase(reader: "_Reader") -> ParsedPhase:
    rate = float(reader.take(_NUMBER, "a learning rate such as 0.01"))
    reader.expect(":", "':' between learning rate and batch size")
    batch = reader.take_integer("a batch size such as 32")
    reader.expect("x", "'x' between batch size and length")
    amount = reader.take_integer("a length such as 10, 10ep, 2000steps or 50000ex")
    return rate, batch, str(amount) + (reader.take_if(_UNIT) or "ep")


def _take_end(reader: "_Reader", otherwise: str) -> int | None:
    steps_per_epoch = None
    if reader.take_if(_AT) is not None:
        steps_per_epoch = reader.take_integer("the steps per epoch, such as 200")
    if not reader.at_end():
        reader.fail(f"{otherwise}, '@' and the steps per epoch, or the end")
    return steps_per_epoch


def _number_or_word(token: str) -> int | float | str:
    if _INTEGER.fullmatch(token) and len(token) <= _MOST_DIGITS:
        return int(token)
    return float(token) if _NUMBER.fullmatch(token) else token


class _Reader:
    """Tokenizer that tracks its position in the text."""

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

    def take_integer(self, expected: str) -> int:
        begin = self._position
        token = self.take(_INTEGER, expected)
        if len(token) > _MOST_DIGITS:
            self._position = begin
            self.fail(f"{expected}, of at most {_MOST_DIGITS} digits,")
        return int(token)

    def expect(self, literal: str, expected: str) -> None:
        self.take(re.compile(re.escape(literal)), expected)

    def sees(self, literal: str) -> bool:
        self._skip_blanks()
        return self._text.startswith(literal, self._position)

    def take_among(self, names: Collection[str], expected: str) -> str:
        self._skip_blanks()
        begin = self._position
        token = self.take_if(_NAME)
        if token is None or token not in names:
            self._position = begin
            self.fail(f"{expected}: {', '.join(names)}" if names else expected)
        return token

    def fail(self, expected: str) -> NoReturn:
        begin = self._text.rfind("\n", 0, self._position) + 1
        begin = max(begin, self._position - _SHOWN_CHARACTERS)
        line = self._text[begin : self._position + _SHOWN_CHARACTERS].partition("\n")[0]
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
