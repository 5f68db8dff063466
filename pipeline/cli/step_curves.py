"""Curves of steps, drawn with the lines and corners of the terminal."""

import bisect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

_MOST_ROWS = 9
_MOST_COLUMNS = 100


@dataclass(frozen=True, slots=True)
class Curve:
    """A quantity that changes in steps.

    Args:
        title: Its name.
        values: One for each stretch of the axis below; above 0. Their own axis is logarithmic.
        style: Style of the line, as in ``rich``.
    """

    title: str
    values: Sequence[float]
    style: str = ""

    def rows(self) -> list[int]:
        """Returns the row of each value, from 0 at the top: two rows for each doubling."""
        most, least = max(self.values), min(self.values)
        doublings = math.log2(most / least)
        least_rows = 1 if _label(most) == _label(least) else 3
        below = min(max(2 * round(doublings) + 1, least_rows), _MOST_ROWS) - 1
        return [round(math.log2(most / value) / (doublings or 1) * below) for value in self.values]

    def labels(self) -> dict[int, str]:
        """Returns what stands beside the axis, by row."""
        labels: dict[int, str] = {}
        for row, value in zip(self.rows(), self.values, strict=True):
            labels.setdefault(row, _label(value))
        return labels


@dataclass(frozen=True, slots=True)
class StepCurves:
    """Curves over one axis; ``rich`` draws them one below the other, as wide as the terminal.

    Args:
        curves: What to draw.
        lengths: Length of each stretch of the axis.
        x_title: Name of the axis.
    """

    curves: Sequence[Curve]
    lengths: Sequence[int]
    x_title: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draws the curves."""
        margin = max(len(label) for curve in self.curves for label in curve.labels().values())
        width = min(options.max_width, _MOST_COLUMNS) - margin - 2
        for curve in self.curves:
            yield Text(f"\n{curve.title}", style="bold")
            labels = curve.labels()
            for row, line in enumerate(self._lines(curve.rows(), width)):
                label = labels.get(row, "")
                tick = "┤" if label else "│"
                yield Text.assemble(f"{label:>{margin}} ", tick, (line.rstrip(), curve.style))
        yield Text(" " * (margin + 1) + "└" + "─" * width)
        first, last = "0", f"{sum(self.lengths):,}"
        title = f"{self.x_title:^{max(0, width - len(first) - len(last))}}"
        yield Text(" " * (margin + 2) + first + title + last)

    def _lines(self, rows: Sequence[int], width: int) -> list[str]:
        stops = list(itertools.accumulate(self.lengths))
        columns = [
            rows[bisect.bisect_right(stops, (column + 0.5) / width * stops[-1])]
            for column in range(width)
        ]
        canvas = [[" "] * width for _ in range(max(rows) + 1)]
        for column, (before, row) in enumerate(itertools.pairwise([columns[0], *columns])):
            for between in range(min(before, row), max(before, row)):
                canvas[between][column] = "│"
            falls, rises = row > before, row < before
            canvas[before][column] = "╮" if falls else "╯"
            canvas[row][column] = "╰" if falls else "╭" if rises else "─"
        return ["".join(line) for line in canvas]


def _label(value: float) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
