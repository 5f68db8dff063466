"""How answers are printed: tables for people, JSON for scripts."""

import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table

_PLAIN_WIDTH = 200
"""Columns of tables that are not shown on a terminal."""


def print_json(value: Any) -> None:
    """Prints a value as JSON: dataclasses as objects, times in ISO 8601, NaN as null."""
    click.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))


def plain(value: Any) -> Any:
    """Returns a value in types that JSON has."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Path) else value


def show(*parts: RenderableType) -> None:
    """Prints tables, and lines of markup, on standard output."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, _PLAIN_WIDTH)
    for part in parts:
        console.print(part, highlight=False, soft_wrap=isinstance(part, str))


def table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    """Returns an empty table.

    Args:
        title: Above it; markup.
        columns: Their headings.
        right: Those of columns with numbers.
    """
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left")
    return made


def when(time: datetime) -> str:
    """Returns a time in the zone of this machine, to the second."""
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S}"


def age(time: datetime, now: datetime | None = None) -> str:
    """Returns how long ago a time was, in the largest fitting unit."""
    seconds = max(0.0, ((now or datetime.now(timezone.utc)) - time).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def duration(seconds: float) -> str:
    """Returns a duration: ``0.4 s``, ``12 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
