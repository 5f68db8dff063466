"""The command ``tfx-feeder diff``."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import click
from rich.console import RenderableType
from rich.markup import escape

from tfx_feeder.pipeline.cli.console import print_json, show, table
from tfx_feeder.pipeline.cli.options import store_options
from tfx_feeder.pipeline.metadata.facts import (
    SECTIONS,
    Facts,
    Value,
    facts_of_model,
    facts_of_run,
)
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.lookup import find_model, find_run

_MEASURED = ("training", "metrics")


@dataclass(frozen=True, slots=True)
class Row:
    """One compared value.

    Args:
        section: Section of the value, one of ``SECTIONS``.
        name: Name of the value within its section.
        first: Value of the first subject; ``None`` if it has none.
        second: Value of the second subject; ``None`` if it has none.
    """

    section: str
    name: str
    first: Value | None
    second: Value | None

    @property
    def change(self) -> float | None:
        """Difference of two numbers; ``None`` for other values."""
        if isinstance(self.first, int | float) and isinstance(self.second, int | float):
            return self.second - self.first
        return None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of two runs or two models.

    Args:
        first: Name of the first subject.
        second: Name of the second subject.
        rows: Compared values, in the order of ``SECTIONS``.
        notes: Messages about values that could not be read.
    """

    first: str
    second: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def compare(first: Facts, second: Facts, *, everything: bool = False) -> Comparison:
    """Compares the facts of two subjects.

    Args:
        first: Facts of the first subject.
        second: Facts of the second subject.
        everything: If True, includes equal values.
    """
    names = dict.fromkeys((*first.values, *second.values))
    rows = [
        Row(section, name, first.values.get((section, name)), second.values.get((section, name)))
        for section, name in sorted(names, key=lambda name: SECTIONS.index(name[0]))
    ]
    return Comparison(
        first.subject,
        second.subject,
        tuple(row for row in rows if everything or not _same(row)),
        tuple(dict.fromkeys((*first.notes, *second.notes))),
    )


def find_facts(lineage: Lineage, text: str) -> Facts:
    """Collects the facts of a run or a model.

    Args:
        lineage: Lineage of the store.
        text: Name of a run, as accepted by ``find_run``; or of a model: an id, a pushed version,
            ``blessed`` or ``live``.

    Raises:
        ConfigError: No run or model, or more than one, has this name.
    """
    is_number = text.isdecimal() and text not in lineage.run_ids()
    if is_number or text in ("blessed", "live"):
        return facts_of_model(lineage, find_model(lineage, text))
    return facts_of_run(find_run(lineage, text))


def draw(comparison: Comparison) -> Iterator[RenderableType]:
    """Yields a comparison as a table and lines of markup."""
    first, second = escape(comparison.first), escape(comparison.second)
    if comparison.rows:
        drawn = table("", "", first, second)
        for column in drawn.columns:
            column.overflow = "fold"
        for section, rows in groupby(comparison.rows, key=lambda row: row.section):
            drawn.add_section()
            drawn.add_row(f"[bold]{section}[/]")
            for row in rows:
                name = f"  {escape(row.name)}"
                drawn.add_row(name, _text(row.first), f"{_text(row.second)}{_change(row)}")
        yield drawn
    else:
        yield f"No differences between {first} and {second}."
    for note in comparison.notes:
        yield f"[yellow]Note:[/] {escape(note)}"


@click.command()
@click.argument("first")
@click.argument("second")
@click.option("--all", "everything", is_flag=True, help="Show equal values as well.")
@store_options
def diff(lineage: Lineage, as_json: bool, first: str, second: str, everything: bool) -> None:
    """Show the differences between two runs or two models.

    FIRST and SECOND are run ids or beginnings of run ids, previous or latest; or model ids, pushed
    versions, blessed or live.
    """
    found = [find_facts(lineage, text) for text in (first, second)]
    comparison = compare(*found, everything=everything)
    if as_json:
        print_json(comparison)
    else:
        show(*draw(comparison))


def _same(row: Row) -> bool:
    both_nan = row.first != row.first and row.second != row.second
    return row.first == row.second or both_nan


def _text(value: Value | None) -> str:
    match value:
        case None:
            return "[dim]none[/]"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case _:
            return escape(str(value))


def _change(row: Row) -> str:
    """Returns the change of a measured number; empty for options."""
    if row.section not in _MEASURED or row.change is None:
        return ""
    return f" ({row.change:+,})" if isinstance(row.change, int) else f" ({row.change:+.3g})"
