"""What a schedule will do, as a table and as curves, before anything is paid for."""

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from tfx_feeder.components.feeder_trainer.schedules.policy import Policy
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.pipeline.cli.step_curves import Curve, StepCurves


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One phase.

    Args:
        phase: Index from 0.
        epochs: Number of epochs, a partial one included.
        examples: Number of examples.
        steps: Number of optimizer updates.
        learning_rate: At the start of the phase.
        batch_size: Global batch size in examples.
    """

    phase: int
    epochs: int
    examples: int
    steps: int
    learning_rate: float
    batch_size: int


@dataclass(frozen=True, slots=True)
class Preview:
    """All phases that are known beforehand; ``rich`` draws it.

    Args:
        rows: One for each phase.
        replicas: Devices among which a batch is split.
        description: What is decided while training; empty where all is known.
    """

    rows: tuple[PreviewRow, ...]
    replicas: int
    description: str

    def to_dict(self) -> dict[str, Any]:
        """Returns the preview as JSON can hold it."""
        return dataclasses.asdict(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draws the table, and the curves where there is more than one phase."""
        yield self._table()
        if len(self.rows) > 1:
            yield StepCurves(
                [
                    Curve("learning rate", [row.learning_rate for row in self.rows], "cyan"),
                    Curve("global batch size", [row.batch_size for row in self.rows], "magenta"),
                ],
                lengths=[row.examples for row in self.rows],
                x_title="examples",
            )
        if self.description:
            yield f"\n{self.description}"

    def _table(self) -> Table:
        table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
        table.padding, table.show_footer = (0, 2), True
        rows = self.rows
        columns = {
            "phase": (str(row.phase + 1) for row in rows),
            "epochs": (str(row.epochs) for row in rows),
            "examples": (f"{row.examples:,}" for row in rows),
            "steps": (f"{row.steps:,}" for row in rows),
            "learning rate": (f"{row.learning_rate:.3g}" for row in rows),
            "global batch": (str(row.batch_size) for row in rows),
        }
        totals = {
            "phase": "total",
            "epochs": str(sum(row.epochs for row in rows)),
            "examples": f"{sum(row.examples for row in rows):,}",
            "steps": f"{sum(row.steps for row in rows):,}",
        }
        if self.replicas > 1:
            columns["per replica"] = (_share(row.batch_size, self.replicas) for row in rows)
        for name in columns:
            table.add_column(name, totals.get(name, ""), justify="right", footer_style="bold")
        for cells in zip(*columns.values(), strict=True):
            table.add_row(*cells)
        return table


def preview(schedule: Schedule | Policy, num_examples: int, replicas: int = 1) -> Preview:
    """Says what a schedule or a policy will do.

    Args:
        schedule: The phases, or the rule that makes them.
        num_examples: Examples in one pass over the training splits.
        replicas: Devices among which a batch is split.

    Raises:
        ConfigError: The schedule does not fit ``num_examples`` or ``replicas``.

    Example:
        >>> rows = preview(Schedule.from_value("0.01:32x10, 0.005:64x10"), num_examples=50_000).rows
        >>> [row.steps for row in rows]
        [15630, 7820]
    """
    schedule.validate(num_examples, replicas)
    if isinstance(schedule, Schedule):
        return Preview(tuple(_rows(schedule, num_examples)), replicas, description="")
    known = schedule.schedule(num_examples)
    return Preview(tuple(_rows(known, num_examples)), replicas, schedule.describe())


def _rows(schedule: Schedule, num_examples: int) -> Iterator[PreviewRow]:
    segments = schedule.epoch_specs(num_examples)
    for phase, group in itertools.groupby(segments, key=lambda segment: segment.phase):
        epochs = list(group)
        yield PreviewRow(
            phase=phase,
            epochs=len(epochs),
            examples=sum(epoch.examples for epoch in epochs),
            steps=sum(epoch.steps for epoch in epochs),
            learning_rate=epochs[0].learning_rate,
            batch_size=epochs[0].batch_size,
        )


def _share(batch_size: int, replicas: int) -> str:
    least, more = divmod(batch_size, replicas)
    return f"{least}-{least + 1}" if more else str(least)
