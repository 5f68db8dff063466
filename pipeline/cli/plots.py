"""Line charts for the terminal, drawn with the dots of Braille characters."""

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

_MOST_COLUMNS = 100
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of the dots of a Braille character, by row and column."""
_BLANK = 0x2800
_LOG_FROM = 100
"""Ratio of the largest to the smallest value from which on a scale is logarithmic."""


@dataclass(frozen=True, slots=True)
class Line:
    """What is drawn in one chart as one line.

    Args:
        name: In the legend.
        values: One for each stretch of the axis; those that are not finite leave a gap.
        style: Style of the line, as in ``rich``.
        dotted: Whether every other dot is left out, which tells lines apart without colours.
        steps: Whether a value holds for its whole stretch; else it is that of the stretch's end.
    """

    name: str
    values: Sequence[float]
    style: str = ""
    dotted: bool = False
    steps: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines over one axis.

    Args:
        title: What the values are.
        lines: What to draw; later lines lie above earlier ones.
        height: In rows.
    """

    title: str
    lines: Sequence[Line]
    height: int = 8

    @property
    def span(self) -> tuple[float, float]:
        """The smallest and the largest finite value; two NaNs where there is none."""
        values = [v for line in self.lines for v in line.values if math.isfinite(v)]
        return (min(values), max(values)) if values else (math.nan, math.nan)

    @property
    def is_log(self) -> bool:
        """Whether the scale is logarithmic."""
        least, most = self.span
        return least > 0 and most / least >= _LOG_FROM

    @property
    def labels(self) -> tuple[str, str]:
        """What stands at the top and at the bottom of the axis."""
        least, most = self.span
        return _label(most), "" if least == most else _label(least)

    def level(self, value: float) -> float:
        """Returns the place of a value on the axis: 0 at the bottom, 1 at the top; or NaN."""
        least, most = self.span
        if not math.isfinite(value):
            return math.nan
        if least == most:
            return 1.0
        if self.is_log:
            return math.log(value / least) / math.log(most / least)
        return (value - least) / (most - least)


@dataclass(frozen=True, slots=True)
class Plots:
    """Charts below each other over one axis; ``rich`` draws them as wide as the terminal.

    Args:
        charts: What to draw.
        lengths: Length of each stretch of the axis.
        marks: Stretches before which something changed; shown as vertical lines.
        x_title: Name of the axis.
    """

    charts: Sequence[Plot]
    lengths: Sequence[int]
    marks: Sequence[int]
    x_title: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draws the charts."""
        margin = max(len(label) for chart in self.charts for label in chart.labels)
        width = max(min(options.max_width, _MOST_COLUMNS) - margin - 2, 1)
        for chart in self.charts:
            yield Text.assemble("\n", (chart.title, "bold"), *_legend(chart))
            top, bottom = chart.labels
            for row, line in enumerate(self._rows(chart, width)):
                label = top if row == 0 else bottom if row == chart.height - 1 else ""
                yield Text.assemble(f"{label:>{margin}} ", "┤" if label else "│", line)
        yield Text(" " * (margin + 1) + "└" + "─" * width)
        last = f"{sum(self.lengths):,}"
        title = f"{self.x_title:^{max(0, width - 1 - len(last))}}"
        yield Text(f"{' ' * (margin + 2)}0{title}{last}")

    def _rows(self, chart: Plot, width: int) -> Iterator[Text]:
        cells = [[0] * width for _ in range(chart.height)]
        styles = [[""] * width for _ in range(chart.height)]
        for line in chart.lines:
            for row, column in self._dots(chart, line, width):
                cells[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
                styles[row // 4][column // 2] = line.style
        begins = [0, *itertools.accumulate(self.lengths)]
        marked = {int(begins[mark] / begins[-1] * width) for mark in self.marks}
        for dots, row_styles in zip(cells, styles, strict=True):
            yield Text.assemble(
                *(
                    (chr(_BLANK + cell), style) if cell else ("┊" if at in marked else " ", "dim")
                    for at, (cell, style) in enumerate(zip(dots, row_styles, strict=True))
                )
            )

    def _dots(self, chart: Plot, line: Line, width: int) -> Iterator[tuple[int, int]]:
        """Yields row and column of every dot of a line."""
        levels = [chart.level(value) for value in line.values]
        stops = [0, *itertools.accumulate(self.lengths)]
        before: int | None = None
        for column in range(2 * width):
            level = _between(levels, stops, (column + 0.5) / (2 * width), steps=line.steps)
            if math.isnan(level):
                before = None
                continue
            row = round((1 - level) * (4 * chart.height - 1))
            # A steep line is not torn apart.
            start = row if before is None else before + (row > before) - (row < before)
            for between in range(min(start, row), max(start, row) + 1):
                if not line.dotted or (column + between) % 3 == 0:
                    yield between, column
            before = row


def _between(levels: Sequence[float], stops: Sequence[int], place: float, *, steps: bool) -> float:
    """Returns the level of a line at a place from 0 to 1; NaN where nothing is known."""
    at = place * stops[-1]
    index = bisect.bisect_right(stops, at) - 1
    if steps:
        return levels[index]
    if index == 0:
        return math.nan  # A value is that of the end of its stretch.
    begin, end = stops[index : index + 2]
    return levels[index - 1] + (levels[index] - levels[index - 1]) * (at - begin) / (end - begin)


def _legend(chart: Plot) -> Iterator[tuple[str, str]]:
    if len(chart.lines) > 1:
        for line in chart.lines:
            yield f"   {'⠒ ⠒ ⠒' if line.dotted else '⠒⠒⠒'} {line.name}", line.style
    if chart.is_log:
        yield "   logarithmic", "dim"


def _label(value: float) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
