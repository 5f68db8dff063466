"""Terminal output: tables for people, JSON for scripts."""

import json
import re
from typing import Any

import click
from rich import box
from rich.console import RenderableType
from rich.table import Table

from tfx_feeder.common.json import json_safe
from tfx_feeder.common.terminal import SafeConsole

_PLAIN_WIDTH = 200
"""Width in columns if the output is not a terminal."""
_CONTROLS = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that terminals obey, and that JSON leaves as they are."""


def print_json(value: Any) -> None:
    """Prints a value as JSON: dataclasses as objects, times in ISO 8601, NaN as null."""
    text = json.dumps(json_safe(value), indent=2, ensure_ascii=False)
    click.echo(_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def show(*parts: RenderableType) -> None:
    """Prints tables and lines of markup on standard output."""
    console = SafeConsole()
    if not console.is_terminal:
        console.width = max(console.width, _PLAIN_WIDTH)
    for part in parts:
        console.print(part, highlight=False, soft_wrap=isinstance(part, str))


def table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    """Returns an empty table.

    Args:
        title: Markup above the table.
        columns: Headings of the columns.
        right: Headings of the right-aligned columns.
    """
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left")
    return made
