"""What a run says before and after: tables and lines for a console."""

from collections.abc import Collection, Iterator
from pathlib import Path

from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from tfx_feeder.pipeline.configs import PipelineConfig
from tfx_feeder.pipeline.gates import METRIC
from tfx_feeder.pipeline.runner.result import RunResult
from tfx_feeder.pipeline.runner.tables import candidates_table
from tfx_feeder.schemas.evaluation import EvaluationResult
from tfx_feeder.schemas.training_history import History


def print_start(config: PipelineConfig, done: Collection[int], *, chosen: bool) -> Iterator[str]:
    """Yields what the run is about to do, as lines of markup.

    Args:
        config: Its settings.
        done: Spans that earlier runs were trained on.
        chosen: Whether the user named the span.
    """
    data = config.data
    span = "" if config.span is None else f", span {config.span} of {len(data.spans)}"
    yield f"[bold]{escape(data.name)}[/]{span}: {len(data.classes)} classes in {data.folder}"
    yield f"Schedule: {config.schedule}"
    if data.spans and not chosen and config.span in done:
        yield (
            "Nothing is new: every span has been trained on. This run comes from the cache.\n"
            f"To start over, remove {config.root} or choose another --root; "
            "to repeat a span, name it with --span."
        )


def print_summary(
    outcome: RunResult, done: Collection[int], log: Path, report: Path | None
) -> Iterator[RenderableType]:
    """Yields what the run came to.

    Args:
        outcome: Of the run.
        done: Spans that have been trained on, this run's included.
        log: The libraries' log.
        report: The page about the run; ``None`` where it could not be written.
    """
    yield ""
    yield components_table(outcome)
    if outcome.history.candidates:
        yield candidates_table(outcome.history.candidates)
    yield schedule_table(outcome.history)
    yield slices_table(outcome.judgement)
    yield from data_lines(outcome)
    yield from verdict_lines(outcome)
    workspace = outcome.config.workspace
    yield f"Artifacts: {escape(str(workspace.artifacts))}"
    yield f"Metadata:  {escape(str(workspace.metadata))}"
    yield f"Log:       {escape(str(log))}"
    yield report_line(report)
    yield from advice_lines(outcome, done)


def report_line(report: Path | None) -> str:
    """Returns where the page about a run is."""
    where = "could not be written; the log says why" if report is None else escape(str(report))
    return f"Report:    {where}"


def components_table(outcome: RunResult) -> Table:
    """Returns the components with their states and times."""
    table = _table("Components")
    table.add_column("component")
    table.add_column("state")
    table.add_column("seconds", justify="right")
    for execution in outcome.executions:
        state = "cached" if execution.state == "CACHED" else "run"
        seconds = "" if state == "cached" else f"{execution.seconds:.1f}"
        table.add_row(execution.node, state, seconds)
    return table


def schedule_table(history: History) -> Table:
    """Returns the phases of the training with what each came to."""
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


def slices_table(judgement: EvaluationResult) -> Table:
    """Returns the slices with candidate and baseline."""
    missed = {cause.slice for cause in judgement.causes}
    table = _table(f"Slices: {METRIC}")
    table.add_column("slice")
    for heading in ("examples", "candidate", "baseline", "change"):
        table.add_column(heading, justify="right")
    for row in judgement.slices(METRIC):
        compared = ("none", "")
        if row.baseline is not None:
            compared = (f"{row.baseline:.4f}", f"{row.candidate - row.baseline:+.4f}")
        table.add_row(
            escape(row.slice),
            "" if row.examples is None else str(row.examples),
            f"{row.candidate:.4f}",
            *compared,
            style="red" if row.slice in missed else None,
        )
    return table


def data_lines(outcome: RunResult) -> Iterator[str]:
    """Yields how many images were taken and how many were left out."""
    taken = ", ".join(f"{split} {count}" for split, count in outcome.examples.items())
    rejected = sum(outcome.rejected.values())
    yield f"Images:    {taken}; rejected {rejected}"
    if rejected:
        reasons = ", ".join(f"{reason} {count}" for reason, count in outcome.rejected.items())
        yield f"Rejected:  {reasons}; listed in {escape(str(outcome.rejected_list))}"


def verdict_lines(outcome: RunResult) -> Iterator[str]:
    """Yields whether the model was blessed, why not, and what was pushed."""
    judgement = outcome.judgement
    if judgement.blessed:
        yield "[green]Blessed:[/]   every gate was passed"
    for cause in judgement.causes:
        yield f"[red]Not blessed:[/] {escape(str(cause))}"
    if outcome.withdrawn:
        yield f"[red]Withdrawn:[/] {escape(outcome.withdrawn)}"
    if outcome.pushed is None:
        yield "Pushed:    nothing"
    else:
        earlier = " (by an earlier run)" if outcome.from_cache else ""
        yield f"Pushed:    version {outcome.pushed.name}{earlier} in {escape(str(outcome.pushed))}"


def advice_lines(outcome: RunResult, done: Collection[int]) -> Iterator[str]:
    """Yields what to try next."""
    config = outcome.config
    left = [span for span in config.data.spans if span not in done]
    yield "Next:"
    if not outcome.judgement.blessed:
        yield "  a longer training: --full, or --schedule '0.01:32x10, 0.001:64x5'"
    if left:
        yield f"  the same command again: it trains on span {left[0]}"
    yield f"  the curves: tensorboard --logdir {escape(str(outcome.tensorboard))}"


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
