"""The commands ``models`` and ``history``."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import click
from rich.console import RenderableType
from rich.markup import escape

from tfx_feeder.common.durations import format_age, format_elapsed
from tfx_feeder.common.errors import DataError
from tfx_feeder.pipeline.cli.console import print_json, show, table
from tfx_feeder.pipeline.cli.options import (
    all_option,
    newest_option,
    store_options,
    truncation_note,
)
from tfx_feeder.pipeline.cli.plots import Line, Plot, Plots
from tfx_feeder.pipeline.metadata.describe import (
    blessing_label,
    count_epochs,
    primary_metric,
    read_model_evaluation,
    status_label,
)
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.lookup import find_model
from tfx_feeder.pipeline.metadata.models import MODEL, ModelVersion, read_models
from tfx_feeder.pipeline.runner.tables import candidates_table
from tfx_feeder.schemas import training_history
from tfx_feeder.schemas.evaluation import SliceRow
from tfx_feeder.schemas.training_history import EpochRecord, History

_VALIDATION = "val_"
_MAX_PLOTTED_METRICS = 3
"""Maximum number of metrics that are plotted; the table shows all of them."""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One row of the list of models.

    Args:
        version: The model with its evaluation and its pushes.
        metric: First metric over all examples; ``None`` if no evaluation can be read.
        reasons: Unmet thresholds, or the reason why the evaluation cannot be read.
        files_missing: If True, the files of the model no longer exist.
    """

    version: ModelVersion
    metric: SliceRow | None
    reasons: tuple[str, ...]
    files_missing: bool


@dataclass(frozen=True, slots=True)
class ModelHistory:
    """A model and its training history.

    Args:
        model: The model.
        history: Record of its training.
    """

    model: ModelVersion
    history: History


@click.command()
@newest_option
@all_option
@store_options
def models(lineage: Lineage, as_json: bool, newest: int, everything: bool) -> None:
    """List the models of a store with span, metric, blessing and pushes."""
    rows = list_models(lineage, None if everything else newest)
    if as_json:
        print_json(rows)
    elif rows:
        total = len(lineage.artifacts(MODEL))
        reasons = [
            f"Model {row.version.model.id}: {escape(reason)}"
            for row in rows
            for reason in row.reasons
        ]
        show(models_table(rows), *reasons, *_live_lines(rows))
        show(*truncation_note(len(rows), total, "models"))
        show(f"Details: tfx-feeder why {rows[0].version.model.id}")
    else:
        show("The store has no model yet.")


@click.command()
@click.argument("model", metavar="MODEL")
@store_options
def history(lineage: Lineage, as_json: bool, model: str) -> None:
    """Show the training history of a model: a table of epochs, and plots.

    MODEL is a model id, a pushed version, the id of the run that trained it, latest, blessed or
    live.
    """
    found = read_history(lineage, model)
    if as_json:
        print_json(found)
    else:
        show(*history_lines(found))


def list_models(lineage: Lineage, newest: int | None = None) -> list[ModelRow]:
    """Returns the models of a store, newest first.

    Args:
        lineage: Lineage of the store.
        newest: Maximum number of models; ``None`` for all.
    """
    return [_row(model) for model in read_models(lineage, newest)]


def models_table(rows: Sequence[ModelRow]) -> RenderableType:
    """Returns a table of models."""
    several = len({row.version.pipeline for row in rows}) > 1
    columns = ("model", *(["pipeline"] if several else []), "trained", "span", "metric", "blessed")
    drawn = table("Models", *columns, "version", "pushed", right=("model", "trained", "pushed"))
    for row in rows:
        model = row.version
        pushed = model.pushes[-1] if model.pushes else None
        status = f" {status_label(model)}" if model.live or model.withdrawn else ""
        drawn.add_row(
            f"{model.model.id}{' [red]files missing[/]' if row.files_missing else ''}",
            *([escape(model.pipeline)] if several else []),
            f"{format_age(model.created_at)} ago",
            ", ".join(map(str, model.spans)),
            f"{escape(row.metric.metric)} {row.metric.candidate:.4f}" if row.metric else "",
            blessing_label(model),
            f"{escape(pushed.version)}{status}" if pushed else "",
            f"{format_age(pushed.at)} ago" if pushed else "",
        )
    return drawn


def _row(model: ModelVersion) -> ModelRow:
    reasons: list[str] = []
    metric = None
    if model.evaluation is not None:
        try:
            result = read_model_evaluation(model)
        except DataError as error:
            reasons.append(str(error))
        else:
            metric = primary_metric(result)
            reasons += [f"not blessed: {cause}" for cause in result.causes]
    return ModelRow(model, metric, tuple(reasons), model.model.files_missing)


def _live_lines(rows: Sequence[ModelRow]) -> Iterator[str]:
    for version in (row.version for row in rows if row.version.live):
        push = version.pushes[-1]
        yield f"Live in {escape(push.place)}: {escape(push.version)}, model {version.model.id}"


def read_history(lineage: Lineage, text: str) -> ModelHistory:
    """Returns the training history of a model.

    Args:
        lineage: Lineage of the store.
        text: Name of the model, as accepted by ``find_model``.

    Raises:
        ConfigError: No model, or more than one, has this name.
        DataError: The trainer wrote no history, or the history cannot be read.
    """
    model = find_model(lineage, text)
    if model.history is None:
        raise DataError(
            f"Model {model.model.id} has no training history: its trainer does not write one. "
            f"`tfx-feeder lineage {model.model.id}` shows the inputs of the model."
        )
    if not model.history.is_local:
        raise DataError(f"The training history is not on this machine: {model.history.uri}")
    return ModelHistory(model, training_history.read(model.history.path))


def history_lines(found: ModelHistory) -> Iterator[RenderableType]:
    """Yields a training history as tables, plots and lines of markup."""
    history = found.history
    yield f"[bold]Model {found.model.model.id}[/] of run {escape(found.model.run_id)}"
    spans = ", ".join(map(str, found.model.spans))
    yield (
        f"{history.num_examples:,} examples{f' of span {spans}' if spans else ''}; "
        f"{count_epochs(len(history.epochs))} in {format_elapsed(history.seconds)}; "
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
        yield history_plots(history.epochs)


def epochs_table(rows: Sequence[EpochRecord]) -> RenderableType:
    """Returns a table with one row per epoch, and a rule between phases."""
    metrics = list(dict.fromkeys(name for row in rows for name in row.metrics))
    replicas = ["replicas"] if any(row.replicas > 1 for row in rows) else []
    columns = ("epoch", "phase", "rate", "batch", *replicas, *map(_heading, metrics))
    columns = (*columns, "ex.\nper s", "wait\n%")
    drawn = table("Epochs", *columns, right=columns)
    # Fits two metrics and their validation into 80 columns.
    drawn.padding = (0, 1, 0, 0)
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        drawn.add_row(
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
    return drawn


def history_plots(rows: Sequence[EpochRecord]) -> Plots:
    """Returns plots of loss, metrics, learning rate and batch size over the examples."""
    names = dict.fromkeys(name.removeprefix(_VALIDATION) for row in rows for name in row.metrics)
    # The loss comes first, then the metrics in the order of the user's compile().
    in_order = sorted(names, key=lambda name: name != "loss")[:_MAX_PLOTTED_METRICS]
    rates = [row.learning_rate for row in rows]
    batches = [row.global_batch_size for row in rows]
    return Plots(
        charts=[
            *(chart for name in in_order if (chart := _metric_plot(name, rows)) is not None),
            Plot("learning rate", [Line("", rates, "cyan", steps=True)], height=4),
            Plot("global batch size", [Line("", batches, "magenta", steps=True)], height=4),
        ],
        lengths=[row.examples for row in rows],
        marks=[i for i in range(1, len(rows)) if rows[i].phase != rows[i - 1].phase],
        x_title="examples",
    )


def _phase_lines(history: History) -> Iterator[str]:
    for row in history.phases:
        yield (
            f"Phase {row.phase + 1}: {escape(row.reason)}. "
            f"{count_epochs(row.epochs)} at {row.examples_per_s:,.0f} examples/s, "
            f"{escape(row.verdict or 'too short for a diagnosis')}"
        )
    for advice in dict.fromkeys(row.advice for row in history.phases if row.advice):
        yield f"Advice: {escape(advice)}"


def _metric_plot(name: str, rows: Sequence[EpochRecord]) -> Plot | None:
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
