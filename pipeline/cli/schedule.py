"""Command ``tfx-feeder schedule``: inspects schedules without training."""

import dataclasses
from collections.abc import Sequence

import click
from rich.console import Console
from rich.table import Table

from tfx_feeder.components.feeder_trainer.schedules.parser import PRESETS, parse_schedule
from tfx_feeder.components.feeder_trainer.schedules.preview import Preview, preview
from tfx_feeder.pipeline.cli.console import print_json
from tfx_feeder.pipeline.cli.errors import ErrorReportingGroup
from tfx_feeder.pipeline.cli.plots import Line, Plot, Plots

_PLOT_HEIGHT = 7
"""Height of a plot in terminal rows."""


@click.group(cls=ErrorReportingGroup)
def schedule() -> None:
    """Inspect schedules of learning rate and batch size."""


@schedule.command("preview", epilog=f"Presets: {', '.join(PRESETS)}.")
@click.argument("text", metavar="SCHEDULE")
@click.option(
    "--examples", type=click.IntRange(min=1), required=True, help="Number of training examples."
)
@click.option(
    "--steps-per-epoch",
    type=click.IntRange(min=1),
    help="Steps per epoch [default: one pass over the data].",
)
@click.option(
    "--replicas",
    type=click.IntRange(min=1),
    default=1,
    help="Replicas that share a batch.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def preview_command(
    text: str, examples: int, steps_per_epoch: int | None, replicas: int, as_json: bool
) -> None:
    """Show the phases of SCHEDULE and plot learning rate and batch size.

    SCHEDULE is one line such as "0.01:32x10, 0.005:64x10 @200" (learning rate : batch size x
    length), or "on_plateau 0.01:32x30 max=512"; or the path of a YAML or JSON file; or the name of
    a preset.
    """
    value = parse_schedule(text)
    if steps_per_epoch is not None:
        value = dataclasses.replace(value, steps_per_epoch=steps_per_epoch)
    shown = preview(value, examples, replicas)
    if as_json:
        print_json(shown.to_dict())
    else:
        print_preview(shown)


def print_preview(shown: Preview, console: Console | None = None) -> None:
    """Prints a preview as a table, with plots if there is more than one phase.

    Args:
        shown: The preview.
        console: Destination; standard output if ``None``.
    """
    console = console or Console(highlight=False)
    console.print(_phase_table(shown))
    if len(shown.rows) > 1:
        # Rounded as in the table: rates that differ by a rounding error plot as one.
        rates = [float(f"{row.learning_rate:.3g}") for row in shown.rows]
        batch_sizes = [row.batch_size for row in shown.rows]
        console.print(
            Plots(
                [
                    _step_plot("learning rate", rates, "cyan"),
                    _step_plot("global batch size", batch_sizes, "magenta"),
                ],
                lengths=[row.examples for row in shown.rows],
                marks=(),
                x_title="examples",
            )
        )
    if shown.description:
        console.print(f"\n{shown.description}", highlight=False)


def _step_plot(title: str, values: Sequence[float], style: str) -> Plot:
    height = 1 if len(set(values)) == 1 else _PLOT_HEIGHT
    return Plot(title, [Line(title, values, style, steps=True)], height, log=True)


def _phase_table(shown: Preview) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    table.padding, table.show_footer = (0, 2), True
    rows = shown.rows
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
    if shown.replicas > 1:
        columns["per replica"] = (_per_replica(row.batch_size, shown.replicas) for row in rows)
    for name in columns:
        table.add_column(name, totals.get(name, ""), justify="right", footer_style="bold")
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    return table


def _per_replica(batch_size: int, replicas: int) -> str:
    low, remainder = divmod(batch_size, replicas)
    return f"{low}-{low + 1}" if remainder else str(low)
