"""Training sections: curves, input and throughput, strategy."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from tfx_feeder.common.durations import format_duration
from tfx_feeder.pipeline.report.blocks import (
    Block,
    Cell,
    Charts,
    Collapsible,
    Column,
    Note,
    Section,
    Table,
    number_cell,
    table,
)
from tfx_feeder.pipeline.report.charts.models import candidates_chart
from tfx_feeder.pipeline.report.charts.rows import VALIDATION, metric_names, subsample
from tfx_feeder.pipeline.report.charts.training import speed_charts, training_charts
from tfx_feeder.pipeline.report.facts import Unavailable
from tfx_feeder.schemas.training_history import CandidateRecord, History, PhaseRecord

_MOST_ROWS = 300
_STATUS_STYLES = {"chosen": "ok", "cannot run": "muted", "not probed": "muted"}


def training_section(history: History | Unavailable) -> Section:
    """Returns the section with curves, phases, events and epochs."""
    lead = (
        "Phases are numbered, and every second phase is shaded."
        if isinstance(history, History)
        else ""
    )
    return Section("training", "Training", _blocks(history, _training), lead)


def input_section(history: History | Unavailable) -> Section:
    """Returns the section with throughput, input wait and bottlenecks."""
    return Section("input", "Input and throughput", _blocks(history, _input))


def strategy_section(history: History | Unavailable) -> Section:
    """Returns the section with the strategy and its candidates."""
    return Section("strategy", "Strategy", _blocks(history, _strategy))


def metric_cells(metrics: Mapping[str, float], names: Sequence[str]) -> Iterator[Cell]:
    """Yields a cell for each metric.

    Args:
        metrics: Values by name.
        names: Names in the order of the cells; missing metrics get empty cells.
    """
    for name in names:
        yield number_cell(metrics.get(name), ".4f")


def _blocks(
    history: History | Unavailable, render: Callable[[History], Iterator[Block]]
) -> tuple[Block, ...]:
    if isinstance(history, Unavailable):
        return (Note(history.reason, "missing"),)
    return tuple(render(history))


def _training(history: History) -> Iterator[Block]:
    if not history.epochs:
        yield Note("No epoch was completed.", "missing")
        return
    yield Charts(training_charts(history))
    yield _phases(history)
    if history.events:
        columns = (Column("at example", True), Column("event"), Column("message"))
        rows = [
            (
                number_cell(event.examples_seen, ","),
                Cell(event.kind.replace("_", " ")),
                Cell(event.message),
            )
            for event in history.events
        ]
        yield table("Events", columns, rows)
    yield Collapsible("All epochs", (_epochs(history),))


def _phases(history: History) -> Table:
    names = _names(history, [row.metrics for row in history.phases])
    columns = [
        Column("phase", True),
        *(Column(title, True) for title in ("rate", "batch", "epochs", "steps", "examples/s")),
        *(Column(name, True) for name in names),
        Column("reason"),
    ]
    rows = [
        (
            number_cell(row.phase + 1, "d"),
            number_cell(row.learning_rate),
            number_cell(row.global_batch_size, ","),
            number_cell(row.epochs, ","),
            number_cell(row.steps, ","),
            number_cell(row.examples_per_s, ",.0f"),
            *metric_cells(row.metrics, names),
            Cell(row.reason),
        )
        for row in history.phases
    ]
    return table("Phases", columns, rows)


def _epochs(history: History) -> Table:
    names = _names(history, [row.metrics for row in history.epochs])
    headings = (
        "phase",
        "rate",
        "batch",
        "steps",
        "examples/s",
        "input wait %",
        "step ms",
        "seconds",
    )
    columns = [Column("epoch", True), *(Column(title, True) for title in (*headings, *names))]
    shown = subsample(history.epochs, _MOST_ROWS)
    rows = [
        (
            number_cell(row.epoch + 1, "d"),
            number_cell(row.phase + 1, "d"),
            number_cell(row.learning_rate),
            number_cell(row.global_batch_size, ","),
            number_cell(row.steps, ","),
            number_cell(row.examples_per_s, ",.0f"),
            number_cell(row.input_wait_pct, ".1f"),
            number_cell(row.step_ms_p50, ".2f"),
            number_cell(row.seconds, ".2f"),
            *metric_cells(row.metrics, names),
        )
        for row in shown
    ]
    omitted = len(history.epochs) - len(shown)
    note = f"{omitted:,} intermediate epochs omitted." if omitted else ""
    return table("Epochs", columns, rows, note)


def _names(history: History, found: Sequence) -> list[str]:
    """Returns the metrics that occur, training metrics before validation metrics."""
    occurring = {name for metrics in found for name in metrics}
    names = metric_names([history])
    return [n for n in (*names, *(VALIDATION + name for name in names)) if n in occurring]


def _input(history: History) -> Iterator[Block]:
    if not history.epochs:
        yield Note("No epoch was completed.", "missing")
        return
    advice = dict.fromkeys((row.verdict, row.advice) for row in history.phases if row.verdict)
    for verdict, text in advice:
        phases = [str(row.phase + 1) for row in history.phases if row.verdict == verdict]
        which = "all phases" if len(phases) == len(history.phases) else f"phase {', '.join(phases)}"
        yield Note(f"{verdict} in {which}: {text}", "warn" if verdict == "input-bound" else "")
    yield Charts(speed_charts(history))
    headings = (
        "examples/s",
        "device limit",
        "input limit",
        "utilization %",
        "input wait %",
        "seconds",
    )
    columns = [
        Column("phase", True),
        *(Column(title, True) for title in headings),
        Column("bound by"),
    ]
    yield table("Bottleneck by phase", columns, [_bound(row) for row in history.phases])


def _bound(row: PhaseRecord) -> tuple[Cell, ...]:
    return (
        number_cell(row.phase + 1, "d"),
        number_cell(row.examples_per_s, ",.0f"),
        number_cell(row.device_ceiling, ",.0f"),
        number_cell(row.input_ceiling, ",.0f"),
        number_cell(row.utilization_pct, ".0f"),
        number_cell(row.input_wait_pct, ".1f"),
        number_cell(row.seconds, ".1f"),
        Cell(row.verdict.removesuffix("-bound")),
    )


def _strategy(history: History) -> Iterator[Block]:
    placement = history.placement
    replicas = (
        placement.replicas if placement else max((r.replicas for r in history.epochs), default=1)
    )
    text = f"Trained with {history.strategy} on {replicas} replica{'s' if replicas != 1 else ''}"
    if placement and placement.learning_rate_rule != "none":
        text += f"; learning rate scaling: {placement.learning_rate_rule}"
    if placement and placement.attempts > 1:
        text += f"; processes started {placement.attempts} times"
    yield Note(f"{text}.")
    if not history.candidates:
        yield Note(
            "The strategy was set explicitly, so no candidates were compared. With auto, this "
            "section compares the predicted and actual training times of the candidates.",
            "missing",
        )
        return
    chart = candidates_chart(history.candidates)
    if chart is not None:
        yield Charts([chart])
    headings = ("replicas", "predicted", "low", "high", "actual", "actual / predicted", "cost")
    columns = [
        Column("strategy"),
        *(Column(title, True) for title in headings),
        Column("status"),
        Column("reason"),
    ]
    yield table("Candidates", columns, [_candidate(row) for row in history.candidates])


def _candidate(row: CandidateRecord) -> tuple[Cell, ...]:
    return (
        Cell(row.strategy),
        number_cell(row.replicas, "d"),
        _seconds(row.predicted_s),
        _seconds(row.low_s),
        _seconds(row.high_s),
        _seconds(row.actual_s),
        number_cell(row.actual_to_predicted, ".2f"),
        number_cell(row.cost, ".3g"),
        Cell(
            row.verdict,
            style=_STATUS_STYLES.get(row.verdict, "warn" if "too" in row.verdict else ""),
        ),
        Cell(row.reason),
    )


def _seconds(value: float | None) -> Cell:
    return Cell("") if value is None else Cell(format_duration(value), value)
