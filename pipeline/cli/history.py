"""How a model was trained: the schedule as executed, epoch by epoch, with curves."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import click
from rich.console import RenderableType
from rich.markup import escape

from tfx_feeder.common.durations import format_elapsed
from tfx_feeder.common.errors import DataError
from tfx_feeder.pipeline.cli.console import print_json, show, table
from tfx_feeder.pipeline.cli.options import store_options
from tfx_feeder.pipeline.cli.plots import Line, Plot, Plots
from tfx_feeder.pipeline.metadata.describe import is_local
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.lookup import find_model
from tfx_feeder.pipeline.metadata.models import ModelVersion
from tfx_feeder.pipeline.runner.tables import candidates_table
from tfx_feeder.schemas import training_history
from tfx_feeder.schemas.training_history import EpochRecord, History

_VALIDATION = "val_"
_MOST_METRICS = 3
"""How many metrics are drawn; the table has all of them."""


@dataclass(frozen=True, slots=True)
class ModelHistory:
    """A model and the record of its training."""

    model: ModelVersion
    history: History


def read_history(lineage: Lineage, text: str) -> ModelHistory:
    """Reads how a model was trained.

    Args:
        lineage: Of the store.
        text: Names the model, as ``find_model`` understands it.

    Raises:
        ConfigError: There is no such model, or several.
        DataError: Another trainer made it, or its record cannot be read.
    """
    model = find_model(lineage, text)
    if model.history is None:
        raise DataError(
            f"Model {model.model.id} has no training history: its trainer writes none. "
            f"`tfx-feeder lineage {model.model.id}` shows out of what it was made."
        )
    if not is_local(model.history.uri):
        raise DataError(f"The training history lies elsewhere: {model.history.uri}")
    return ModelHistory(model, training_history.read(model.history.path))


def history_lines(found: ModelHistory) -> Iterator[RenderableType]:
    """Yields a training as tables, curves and lines of markup."""
    history = found.history
    yield f"[bold]Model {found.model.model.id}[/] of run {escape(found.model.run_id)}"
    spans = ", ".join(map(str, found.model.spans))
    yield (
        f"{history.num_examples:,} examples{f' of span {spans}' if spans else ''}; "
        f"{_epochs(len(history.epochs))} in {format_elapsed(history.seconds)}; "
        f"strategy {escape(history.strategy)}; policy {escape(history.policy)}"
    )
    if history.epochs:
        yield epochs_table(history.epochs)
    yield from _phase_lines(history)
    for event in history.events:
        if event.kind != "phase":
            yield f"At {event.examples_seen:,} examples: {escape(event.message)}"
    if history.candidates:
        yield candidates_table(history.candidates)
    if len(history.epochs) > 1:
        yield curves(history.epochs)


def epochs_table(rows: Sequence[EpochRecord]) -> RenderableType:
    """Returns one row an epoch; a line between the phases."""
    metrics = list(dict.fromkeys(name for row in rows for name in row.metrics))
    replicas = ["replicas"] if any(row.replicas > 1 for row in rows) else []
    columns = ("epoch", "phase", "rate", "batch", *replicas, *map(_heading, metrics))
    columns = (*columns, "ex.\nper s", "wait\n%")
    made = table("Epochs", *columns, right=columns)
    # So that two metrics with their validation fit into 80 columns.
    made.padding = (0, 1, 0, 0)
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        made.add_row(
            str(row.epoch + 1),
            str(row.phase + 1),
            f"{row.learning_rate:.3g}",
            str(row.global_batch_size),
            *([str(row.replicas)] if replicas else []),
            *(_number(row.metrics, name) for name in metrics),
            f"{row.examples_per_s:,.0f}",
            f"{row.input_wait_pct:.1f}",
            end_section=following is not None and following.phase != row.phase,
        )
    return made


def curves(rows: Sequence[EpochRecord]) -> Plots:
    """Returns the curves of loss and metrics, learning rate and batch size over the examples."""
    names = dict.fromkeys(name.removeprefix(_VALIDATION) for row in rows for name in row.metrics)
    # The loss first, then what the user asked for.
    in_order = sorted(names, key=lambda name: name != "loss")[:_MOST_METRICS]
    rates = [row.learning_rate for row in rows]
    batches = [row.global_batch_size for row in rows]
    return Plots(
        charts=[
            *(chart for name in in_order if (chart := _metric_chart(name, rows)) is not None),
            Plot("learning rate", [Line("", rates, "cyan", steps=True)], height=4),
            Plot("global batch size", [Line("", batches, "magenta", steps=True)], height=4),
        ],
        lengths=[row.examples for row in rows],
        marks=[i for i in range(1, len(rows)) if rows[i].phase != rows[i - 1].phase],
        x_title="examples",
    )


@click.command()
@click.argument("model", metavar="MODEL")
@store_options
def history(lineage: Lineage, as_json: bool, model: str) -> None:
    """Show how a model was trained: one row an epoch, and curves.

    MODEL is its id, a version under which it was pushed, the run that trained it, latest, blessed
    or live.
    """
    found = read_history(lineage, model)
    if as_json:
        print_json(found)
    else:
        show(*history_lines(found))


def _phase_lines(history: History) -> Iterator[str]:
    for row in history.phases:
        yield (
            f"Phase {row.phase + 1}: {escape(row.reason)}. "
            f"{_epochs(row.epochs)} at {row.examples_per_s:,.0f} examples/s, "
            f"{escape(row.verdict or 'too short for a verdict')}"
        )
    for advice in dict.fromkeys(row.advice for row in history.phases if row.advice):
        yield f"Advice: {escape(advice)}"


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def _metric_chart(name: str, rows: Sequence[EpochRecord]) -> Plot | None:
    pair = (
        Line("training", _values(rows, name), "blue"),
        Line("validation", _values(rows, f"{_VALIDATION}{name}"), "yellow", dotted=True),
    )
    lines = [line for line in pair if any(map(math.isfinite, line.values))]
    return Plot(name, lines) if lines else None


def _values(rows: Sequence[EpochRecord], name: str) -> list[float]:
    return [row.metrics.get(name, math.nan) for row in rows]


def _heading(metric: str) -> str:
    name = metric.removeprefix(_VALIDATION)
    return escape(name if name == metric else f"{_VALIDATION}\n{name}")


def _number(metrics: Mapping[str, float], name: str) -> str:
    return f"{metrics[name]:.4f}" if name in metrics else ""
