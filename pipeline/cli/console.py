"""Terminal output: tables for people, JSON for scripts."""

import json
from typing import Any

import click
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table

from tfx_feeder.common.json import json_safe

_PLAIN_WIDTH = 200
"""Width in columns if the output is not a terminal."""


def print_json(value: Any) -> None:
    """Prints a value as JSON: dataclasses as objects, times in ISO 8601, NaN as null."""
    click.echo(json.dumps(json_safe(value), indent=2, ensure_ascii=False))


def show(*parts: RenderableType) -> None:
    """Prints tables and lines of markup on standard output."""
    console = Console()
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
