"""Terminal output of a run: announcement and results."""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from tfx_feeder.pipeline.metadata.describe import elapsed, state_label, summarize
from tfx_feeder.pipeline.metadata.slice_results import slice_results
from tfx_feeder.pipeline.metadata.types import Execution
from tfx_feeder.pipeline.runner.tables import candidates_table, slices_table, with_class
from tfx_feeder.schemas.training_history import History

if TYPE_CHECKING:  # These modules import TensorFlow; `tfx-feeder run` imports this one.
    from tfx_feeder.pipeline.configs import PipelineConfig
    from tfx_feeder.pipeline.runner.result import RunResult

_OVERFITTING = 0.1
"""Accuracy in training above that in validation from which more epochs do not help."""
_MAX_SLICES = 12
"""Number of slices shown; `tfx-feeder slices` shows all."""
_LONG_EPOCHS = 30
"""Number of epochs of the schedule that ``--full`` selects."""


def print_start(
    config: "PipelineConfig", trained_spans: Collection[int], *, span_given: bool
) -> Iterator[str]:
    """Yields lines of markup that announce a run.

    Args:
        config: Configuration of the run.
        trained_spans: Spans that earlier runs were trained on.
        span_given: True if the user requested the span.
    """
    data = config.data
    span = "" if config.span is None else f", span {config.span} of {len(data.spans)}"
    source = f", read as {escape(data.source)}" if data.source else ""
    folder = escape(str(data.folder))
    yield f"[bold]{escape(data.name)}[/]{span}: {len(data.classes)} classes in {folder}{source}"
    yield f"Schedule: {config.schedule}"
    if data.spans and not span_given and config.span in trained_spans:
        again = (
            "Serving this run from the cache."
            if config.enable_cache
            else f"Training on span {config.span} again."
        )
        yield (
            f"No new spans: all spans have been trained on. {again}\n"
            f"To start over, remove {escape(str(config.root))} or use another --root; "
            "to train on a span again, use --span."
        )


def print_summary(
    result: "RunResult", trained_spans: Collection[int], log: Path, report: Path | None
) -> Iterator[RenderableType]:
    """Yields the results of a run as tables and lines of markup.

    Args:
        result: Result of the run.
        trained_spans: Spans that have been trained on, including this run's.
        log: Log file of the libraries.
        report: HTML report of the run; ``None`` if it could not be written.
    """
    yield ""
    yield components_table(result.executions)
    if result.history.candidates:
        yield candidates_table(result.history.candidates)
    yield schedule_table(result.history)
    yield from slice_parts(result)
    yield from data_lines(result)
    yield from decision_lines(result)
    workspace = result.config.workspace
    yield f"Artifacts: {escape(str(workspace.artifacts))}"
    yield f"Metadata:  {escape(str(workspace.metadata))}"
    yield f"Log:       {escape(str(log))}"
    yield report_line(report)
    yield from next_step_lines(result, trained_spans)


def report_line(report: Path | None) -> str:
    """Returns a line with the path of the HTML report."""
    where = "could not be written; see the log" if report is None else escape(str(report))
    return f"Report:    {where}"


def components_table(executions: Iterable[Execution]) -> Table:
    """Returns a table of the components of a run with state, duration and outputs.

    Args:
        executions: Executions of the run, with their outputs.
    """
    table = _table("Components")
    table.add_column("component")
    table.add_column("state")
    table.add_column("duration", justify="right")
    table.add_column("outputs")
    for execution in executions:
        outputs = [artifact for group in execution.outputs.values() for artifact in group]
        table.add_row(
            escape(execution.node),
            state_label(execution.state),
            elapsed(execution.state, execution.seconds, execution.created_at),
            "\n".join(summarize(artifact).label for artifact in outputs),
        )
    return table


def schedule_table(history: History) -> Table:
    """Returns a table of the phases of a training with their metrics."""
    metrics = list(history.phases[-1].metrics) if history.phases else []
    table = _table("Schedule")
    for heading in ("phase", "rate", "batch", "epochs", "steps", "examples/s", *metrics):
        table.add_column(heading, justify="right")
    for row in history.phases:
        table.add_row(
            str(row.phase + 1),
            f"{row.learning_rate:g}",
            str(row.global_batch_size),
            str(row.epochs),
            str(row.steps),
            f"{row.examples_per_s:,.0f}",
            *(f"{row.metrics[name]:.4f}" if name in row.metrics else "" for name in metrics),
        )
    return table


def slice_parts(result: "RunResult") -> Iterator[RenderableType]:
    """Yields a table of the slices that decided or came closest to it, and how to see the others.

    Args:
        result: Result of the run.
    """
    rows = [
        row
        for row in slice_results(result.evaluation, result.gate, result.slices)
        if row.metric == result.metric
    ]
    title = f"Slices: {result.metric}"
    yield slices_table(rows[:_MAX_SLICES], title, result.config.data.classes, thresholds=False)
    if len(rows) > _MAX_SLICES:
        yield (
            f"{len(rows) - _MAX_SLICES} more slices: tfx-feeder slices {result.model_id} "
            f"--store {escape(str(result.config.root))}\n"
        )


def data_lines(result: "RunResult") -> Iterator[str]:
    """Yields the numbers of accepted and rejected images."""
    accepted = ", ".join(f"{split} {count}" for split, count in result.examples.items())
    rejected = sum(result.rejected.values())
    yield f"Images:    {accepted}; rejected {rejected}"
    if rejected:
        reasons = ", ".join(f"{reason} {count}" for reason, count in result.rejected.items())
        yield f"Rejected:  {reasons}; listed in {escape(str(result.rejected_list))}"


def decision_lines(result: "RunResult") -> Iterator[str]:
    """Yields the decision with the lines of the gate that decided, and the push."""
    if result.evaluation.blessed:
        yield f"[green]Blessed:[/]   {escape(result.gate.reason)}"
    for failure in result.evaluation.causes:
        named = with_class(failure.slice, result.config.data.classes)
        yield f"[red]Not blessed:[/] {escape(str(failure).replace(failure.slice, named, 1))}"
    if result.withdrawn:
        yield f"[red]Withdrawn:[/] {escape(result.withdrawn)}"
    if result.pushed is None:
        yield "Pushed:    nothing"
    else:
        earlier = " (by an earlier run)" if result.from_cache else ""
        yield f"Pushed:    version {result.pushed.name}{earlier} in {escape(str(result.pushed))}"


def next_step_lines(result: "RunResult", trained_spans: Collection[int]) -> Iterator[str]:
    """Yields suggestions for the next command.

    Args:
        result: Result of the run.
        trained_spans: Spans that have been trained on, including this run's.
    """
    config = result.config
    remaining = [span for span in config.data.spans if span not in trained_spans]
    yield "Next:"
    if not result.evaluation.blessed:
        yield f"  {_advice(result.history)}"
    if remaining:
        yield f"  to train on span {remaining[0]}: run the same command again"
    yield f"  to see the curves: tensorboard --logdir {escape(str(result.tensorboard))}"
    if result.pushed is not None:
        yield f"  to serve it: tfx-feeder serve {escape(str(result.pushed.parent))}"


def _advice(history: History) -> str:
    """Returns what may help a model that was not blessed."""
    last = history.phases[-1].metrics if history.phases else {}
    trained, validated = last.get("accuracy"), last.get("val_accuracy")
    if trained is not None and validated is not None and trained - validated > _OVERFITTING:
        return (
            f"against overfitting (accuracy {trained:.2f} in training, {validated:.2f} in "
            "validation): more images, or an augment_fn beside model_fn"
        )
    if len(history.epochs) < _LONG_EPOCHS:
        return "for a longer training: --full, or --schedule '0.01:32x10, 0.001:64x5'"
    return "for another training: --schedule '0.01:32x40, 0.001:64x20'"


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
