"""Line plots for the terminal, drawn with Braille characters."""

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

_MAX_COLUMNS = 100
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of the dots in a Braille character, by row and column."""
_BLANK = 0x2800
_LOG_SCALE_RATIO = 100
"""Ratio of the largest to the smallest value at which a plot switches to a logarithmic scale."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot.

    Args:
        name: Name in the legend.
        values: One value per segment of the x-axis; values that are not finite leave a gap.
        style: ``rich`` style of the line.
        dotted: If True, dots are skipped, which distinguishes lines without color.
        steps: If True, a value holds for its whole segment and is labeled on the axis; otherwise
            it is reached at the end of the segment.
    """

    name: str
    values: Sequence[float]
    style: str = ""
    dotted: bool = False
    steps: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines over a shared y-axis.

    Args:
        title: Name of the plotted quantity.
        lines: Lines of the plot; later lines are drawn over earlier ones.
        height: Height in terminal rows.
        log: If True, the scale is logarithmic for any range of positive values.
    """

    title: str
    lines: Sequence[Line]
    height: int = 8
    log: bool = False

    @property
    def span(self) -> tuple[float, float]:
        """Smallest and largest finite value; two NaNs if there is none."""
        values = [v for line in self.lines for v in line.values if math.isfinite(v)]
        return (min(values), max(values)) if values else (math.nan, math.nan)

    @property
    def is_log(self) -> bool:
        """True if the scale is logarithmic."""
        low, high = self.span
        return 0 < low < high and (self.log or high / low >= _LOG_SCALE_RATIO)

    @property
    def ticks(self) -> dict[int, str]:
        """Labels of the y-axis by row: both ends, and the values of step lines."""
        low, high = self.span
        ticks = {0: _label(high)}
        if low != high:
            ticks[self.height - 1] = _label(low)
        for value in (v for line in self.lines if line.steps for v in line.values):
            if math.isfinite(value):
                ticks.setdefault(self.dot_row(self.level(value)) // 4, _label(value))
        return ticks

    def level(self, value: float) -> float:
        """Returns the height of a value: 0 at the bottom, 1 at the top, NaN if not finite."""
        low, high = self.span
        if not math.isfinite(value):
            return math.nan
        if low == high:
            return 1.0
        if self.is_log:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    def dot_row(self, level: float) -> int:
        """Returns the row of dots of a level, from 0 at the top; a terminal row has four."""
        return round((1 - level) * (4 * self.height - 1))


@dataclass(frozen=True, slots=True)
class Plots:
    """Vertically stacked plots over one x-axis; a ``rich`` renderable of the terminal's width.

    Args:
        charts: Plots from top to bottom.
        lengths: Length of each segment of the x-axis.
        marks: Indices of segments whose start is marked with a vertical line.
        x_title: Name of the x-axis.
    """

    charts: Sequence[Plot]
    lengths: Sequence[int]
    marks: Sequence[int]
    x_title: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draws the plots."""
        ticks = [chart.ticks for chart in self.charts]
        margin = max(len(label) for labels in ticks for label in labels.values())
        width = max(min(options.max_width, _MAX_COLUMNS) - margin - 2, 1)
        for chart, labels in zip(self.charts, ticks, strict=True):
            yield Text.assemble("\n", (chart.title, "bold"), *_legend(chart))
            for row, line in enumerate(self._rows(chart, width)):
                label = labels.get(row, "")
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
        """Yields the row and column of every dot of a line."""
        levels = [chart.level(value) for value in line.values]
        stops = [0, *itertools.accumulate(self.lengths)]
        before: int | None = None
        for column in range(2 * width):
            level = _between(levels, stops, (column + 0.5) / (2 * width), steps=line.steps)
            if math.isnan(level):
                before = None
                continue
            row = chart.dot_row(level)
            # Fill the rows between two columns so that a steep line stays connected.
            start = row if before is None else before + (row > before) - (row < before)
            for between in range(min(start, row), max(start, row) + 1):
                if not line.dotted or (column + between) % 3 == 0:
                    yield between, column
            before = row


def _between(levels: Sequence[float], stops: Sequence[int], place: float, *, steps: bool) -> float:
    """Returns the level of a line at ``place``, 0 to 1 along the x-axis; NaN where undefined."""
    at = place * stops[-1]
    index = bisect.bisect_right(stops, at) - 1
    if steps:
        return levels[index]
    if index == 0:
        return math.nan  # The first value is reached at the end of the first segment.
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
