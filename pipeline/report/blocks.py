"""Building blocks of a page; ``blocks.html.jinja`` renders each kind."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import ClassVar, TypeAlias

from tfx_feeder.pipeline.report.charts.base import VegaChart, finite
from tfx_feeder.pipeline.report.graphs.svg import Diagram

MAX_ROWS = 500
"""Maximum number of table rows, which keeps pages small enough to send by mail."""


@dataclass(frozen=True, slots=True)
class Note:
    """Highlighted paragraph.

    Args:
        text: Text of the paragraph.
        style: ``missing``, ``ok``, ``bad``, ``warn`` or empty.
    """

    kind: ClassVar[str] = "note"
    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Tile:
    """Key figure.

    Args:
        label: Name of the figure.
        value: Formatted value.
        detail: Line below the value.
        style: ``ok``, ``bad``, ``warn`` or empty.
    """

    label: str
    value: str
    detail: str = ""
    style: str = ""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Key figures side by side."""

    kind: ClassVar[str] = "tiles"
    tiles: Sequence[Tile]


@dataclass(frozen=True, slots=True)
class Cell:
    """Table cell.

    Args:
        text: Displayed text.
        value: Sort key; ``None``: the text.
        style: ``ok``, ``bad``, ``warn``, ``muted`` or empty.
        fraction: Length of the bar in the cell, 0 to 1; ``None``: no bar.
    """

    text: str
    value: float | None = None
    style: str = ""
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """Table column.

    Args:
        title: Heading.
        numeric: True if the column contains numbers.
        series: Color index of the run in the column; ``None`` if the column is not about a run.
    """

    title: str
    numeric: bool = False
    series: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Sortable table.

    Args:
        caption: Caption above the table.
        columns: Columns; the first contains the row headings.
        rows: Rows with a cell for each column.
        note: Text below the table.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Charts:
    """Charts, stacked or in a grid.

    Args:
        charts: Charts in display order.
        grid: If True, charts stand side by side on wide screens.
    """

    kind: ClassVar[str] = "charts"
    charts: Sequence[VegaChart]
    grid: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """Diagram in two orientations.

    Args:
        description: Text alternative for screen readers.
        across: Diagram with layers from left to right, for wide screens.
        down: Diagram with layers from top to bottom, for narrow screens.
        legend: Pairs of box style and meaning.
    """

    kind: ClassVar[str] = "figure"
    description: str
    across: Diagram
    down: Diagram
    legend: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """Small image with a line of text.

    Args:
        png: PNG in base64; empty without an image.
        text: Text below the image, and its text alternative.
    """

    png: str
    text: str


@dataclass(frozen=True, slots=True)
class Gallery:
    """Small images side by side.

    Args:
        title: Heading above the images.
        pictures: Images in display order.
    """

    kind: ClassVar[str] = "gallery"
    title: str
    pictures: Sequence[Picture]


@dataclass(frozen=True, slots=True)
class DefinitionList:
    """List of names with values or commands.

    Args:
        title: Heading above the list.
        entries: Pairs of name and text.
        code: If True, texts are shown as code.
    """

    kind: ClassVar[str] = "definitions"
    title: str
    entries: Sequence[tuple[str, str]]
    code: bool = False


@dataclass(frozen=True, slots=True)
class Collapsible:
    """Blocks that the reader can expand."""

    kind: ClassVar[str] = "collapsible"
    title: str
    blocks: Sequence["Block"]


Block: TypeAlias = Note | Tiles | Table | Charts | Figure | Gallery | DefinitionList | Collapsible


@dataclass(frozen=True, slots=True)
class Section:
    """Section of a page.

    Args:
        id: Anchor for links.
        title: Heading.
        blocks: Contents.
        lead: Sentence below the heading.
    """

    id: str
    title: str
    blocks: Sequence[Block]
    lead: str = ""


@dataclass(frozen=True, slots=True)
class Badge:
    """Status badge.

    Args:
        text: Text of the badge.
        style: ``ok``, ``bad``, ``warn`` or empty.
    """

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Complete page.

    Args:
        title: Heading.
        eyebrow: Line above the heading.
        badges: Status badges below the heading.
        sections: Sections in display order.
        data: Data sets of the charts by name.
        written_at: Time of data collection.
    """

    title: str
    eyebrow: str
    badges: Sequence[Badge]
    sections: Sequence[Section]
    data: dict[str, list] = field(default_factory=dict)
    written_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))


def table(
    caption: str,
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    note: str = "",
    max_rows: int = MAX_ROWS,
) -> Table:
    """Returns a table without columns that are empty in every row.

    Args:
        caption: Caption above the table.
        columns: Columns; the first contains the row headings.
        rows: Rows with a cell for each column.
        note: Text below the table.
        max_rows: Maximum number of rows; the note reports how many were omitted.
    """
    if len(rows) > max_rows:
        note = f"{len(rows) - max_rows:,} more rows omitted. {note}".rstrip()
        rows = rows[:max_rows]
    kept = [i for i in range(len(columns)) if not rows or any(row[i].text for row in rows)]
    return Table(caption, [columns[i] for i in kept], [[r[i] for i in kept] for r in rows], note)


def number_cell(value: float | None, form: str = ".4g", *, style: str = "", unit: str = "") -> Cell:
    """Returns a cell with a number; an empty cell for ``None``.

    Args:
        value: Number; NaN and infinities are shown, but sorted as text.
        form: Format specification.
        style: Style of the cell.
        unit: Text after the number.
    """
    if value is None:
        return Cell("")
    return Cell(f"{value:{form}}{unit}", finite(value), style)


def format_utc(time: datetime) -> str:
    """Formats a time in UTC, to the second."""
    return f"{time.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
