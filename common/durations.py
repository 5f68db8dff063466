"""Parsing and formatting of durations and times."""

import itertools
import re
from datetime import datetime, timezone

from tfx_feeder.common.errors import ConfigError

_DURATION = re.compile(
    r"(?:(?P<d>\d+(?:\.\d+)?)d)?(?:(?P<h>\d+(?:\.\d+)?)h)?"
    r"(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s)?"
)
_MOST_SECONDS = 10**300
_SECONDS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}


def parse_duration(argument: str, text: str | float) -> float:
    """Parses a duration such as ``"1h30m"`` into seconds; a number counts as seconds.

    Args:
        argument: Name of the argument, for the error message.
        text: Days, hours, minutes and seconds, in this order, each optional.

    Raises:
        ConfigError: ``text`` is not a positive duration.

    Example:
        >>> parse_duration("time_to_train", "1h30m")
        5400.0
    """
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        seconds = float(text) if abs(text) < _MOST_SECONDS else float("inf")
    else:
        match = _DURATION.fullmatch(text.replace(" ", "")) if isinstance(text, str) else None
        parts = match.groupdict() if match else {}
        seconds = sum(_SECONDS[unit] * float(value) for unit, value in parts.items() if value)
    if not 0 < seconds < float("inf"):
        raise ConfigError(
            argument, received=text, expected="a duration, as in '45m', '1h30m' or '90s'"
        )
    return seconds


def format_duration(seconds: float) -> str:
    """Formats seconds with their two largest units; ``parse_duration`` reads the result.

    Example:
        >>> [format_duration(s) for s in (0.25, 42.31, 754, 5400, 180_000)]
        ['0.25s', '42.3s', '12m34s', '1h30m', '2d2h']
    """
    if seconds < 59.95:
        return f"{round(seconds, 2):.3g}s"
    units = list(_SECONDS.items())
    for (unit, size), (smaller, step) in itertools.pairwise(units):
        steps = round(seconds / step)
        if steps * step >= size:
            amount, rest = divmod(steps, round(size / step))
            return f"{amount}{unit}" + (f"{rest}{smaller}" if rest else "")
    return f"{round(seconds)}s"


def format_time(time: datetime) -> str:
    """Formats a time in the local time zone, to the second."""
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S}"


def format_age(time: datetime, now: datetime | None = None) -> str:
    """Formats the time elapsed since a moment in its largest unit, such as ``3 h``.

    Args:
        time: Moment in the past.
        now: End of the interval; the current time by default.
    """
    seconds = max(0.0, ((now or datetime.now(timezone.utc)) - time).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def format_elapsed(seconds: float) -> str:
    """Formats a duration as ``0.4 s``, ``12 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
