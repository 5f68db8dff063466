"""What a page is made of. The template knows how to draw each kind."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import ClassVar, TypeAlias

from tfx_feeder.pipeline.report.charts.base import VegaChart, number
from tfx_feeder.pipeline.report.graphs.svg import Diagram

MOST_ROWS = 500
"""Rows of a table: a page has to stay a file that one can send."""


@dataclass(frozen=True, slots=True)
class Note:
    """A paragraph that stands out.

    Args:
        text: What it says.
        style: ``missing``, ``ok``, ``bad``, ``warn`` or empty.
    """

    kind: ClassVar[str] = "note"
    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure that is seen at once.

    Args:
        label: What it is.
        value: The figure.
        detail: A line below.
        style: ``ok``, ``bad``, ``warn`` or empty.
    """

    label: str
    value: str
    detail: str = ""
    style: str = ""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Figures side by side."""

    kind: ClassVar[str] = "tiles"
    tiles: Sequence[Tile]


@dataclass(frozen=True, slots=True)
class Cell:
    """A field of a table.

    Args:
        text: What stands there.
        value: By which the column is sorted; ``None``: by the text.
        style: ``ok``, ``bad``, ``warn``, ``muted`` or empty.
        share: Length of a bar behind it, 0 to 1; ``None``: no bar.
    """

    text: str
    value: float | None = None
    style: str = ""
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Args:
        title: Its heading.
        numeric: Whether it holds numbers.
        series: Index of the colour of its run; ``None``: it is of no run.
    """

    title: str
    numeric: bool = False
    series: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table that the reader can sort.

    Args:
        caption: Above it.
        columns: The first holds what names a row.
        rows: A cell for each column.
        note: Below it.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Charts:
    """Charts below each other, or as a grid.

    Args:
        charts: In order.
        grid: Whether several stand side by side where there is room.
    """

    kind: ClassVar[str] = "charts"
    charts: Sequence[VegaChart]
    grid: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """A diagram, for wide and for narrow screens.

    Args:
        description: For those who do not see it.
        across: With its layers from left to right.
        down: With its layers from top to bottom.
        legend: Style and meaning of the boxes.
    """

    kind: ClassVar[str] = "picture"
    description: str
    across: Diagram
    down: Diagram
    legend: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class DefinitionList:
    """Names with values, or with commands.

    Args:
        title: Above it.
        entries: Name and text.
        code: Whether the texts are to be copied as they are.
    """

    kind: ClassVar[str] = "listing"
    title: str
    entries: Sequence[tuple[str, str]]
    code: bool = False


@dataclass(frozen=True, slots=True)
class Collapsible:
    """Blocks that are shown on demand."""

    kind: ClassVar[str] = "fold"
    title: str
    blocks: Sequence["Block"]


Block: TypeAlias = Note | Tiles | Table | Charts | Figure | DefinitionList | Collapsible


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page with a heading.

    Args:
        id: For links.
        title: The heading.
        blocks: What it holds.
        lead: A sentence below the heading.
    """

    id: str
    title: str
    blocks: Sequence[Block]
    lead: str = ""


@dataclass(frozen=True, slots=True)
class Badge:
    """A word in a frame.

    Args:
        text: The word.
        style: ``ok``, ``bad``, ``warn`` or empty.
    """

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A whole page.

    Args:
        title: Its heading.
        over: A line above the heading.
        badges: Beside the heading.
        sections: In order; the first stands before the contents.
        data: Data sets of the charts, by name.
        written: When its facts were gathered.
    """

    title: str
    over: str
    badges: Sequence[Badge]
    sections: Sequence[Section]
    data: dict[str, list] = field(default_factory=dict)
    written: datetime = field(default_factory=lambda: datetime.now(timezone.utc))


def table(
    caption: str,
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    note: str = "",
    most: int = MOST_ROWS,
) -> Table:
    """Returns a table without the columns that are empty in every row.

    Args:
        caption: Above it.
        columns: The first holds what names a row.
        rows: A cell for each column.
        note: Below it.
        most: Rows that are shown; the note says how many are left out.
    """
    if len(rows) > most:
        note = f"{len(rows) - most:,} more rows are left out. {note}".rstrip()
        rows = rows[:most]
    kept = [i for i in range(len(columns)) if not rows or any(row[i].text for row in rows)]
    return Table(caption, [columns[i] for i in kept], [[r[i] for i in kept] for r in rows], note)


def figure(value: float | None, form: str = ".4g", *, style: str = "", unit: str = "") -> Cell:
    """Returns a cell with a number; an empty one for ``None`` and a word for NaN."""
    if value is None:
        return Cell("")
    return Cell(f"{value:{form}}{unit}", number(value), style)


def clock(time: datetime) -> str:
    """Returns a time in UTC, to the second."""
    return f"{time.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
