"""The sections of a report that are about the training."""

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
    figure,
    table,
)
from tfx_feeder.pipeline.report.charts.models import candidates_chart
from tfx_feeder.pipeline.report.charts.rows import VALIDATION, metric_names, thinned
from tfx_feeder.pipeline.report.charts.training import speed_charts, training_charts
from tfx_feeder.pipeline.report.facts import Unavailable
from tfx_feeder.schemas.training_history import CandidateRecord, History, PhaseRecord

_MOST_ROWS = 300
_VERDICTS = {"chosen": "ok", "cannot run": "muted", "not probed": "muted"}


def training_section(history: History | Unavailable) -> Section:
    """Returns curves, phases, events and epochs."""
    lead = (
        "The phases are numbered, and every second one is shaded."
        if isinstance(history, History)
        else ""
    )
    return Section("training", "Training", _told(history, _training), lead)


def input_section(history: History | Unavailable) -> Section:
    """Returns throughput, waits for input, and what held the training back."""
    return Section("input", "Input and throughput", _told(history, _input))


def strategy_section(history: History | Unavailable) -> Section:
    """Returns the candidates against what happened."""
    return Section("strategy", "Strategy", _told(history, _strategy))


def metric_cells(metrics: Mapping[str, float], names: Sequence[str]) -> Iterator[Cell]:
    """Yields a cell for each metric."""
    for name in names:
        yield figure(metrics.get(name), ".4f")


def _told(
    history: History | Unavailable, tell: Callable[[History], Iterator[Block]]
) -> tuple[Block, ...]:
    if isinstance(history, Unavailable):
        return (Note(history.reason, "missing"),)
    return tuple(tell(history))


def _training(history: History) -> Iterator[Block]:
    if not history.epochs:
        yield Note("No epoch was trained.", "missing")
        return
    yield Charts(training_charts(history))
    yield _phases(history)
    if history.events:
        columns = (Column("at example", True), Column("event"), Column("what"))
        rows = [
            (
                figure(event.examples_seen, ","),
                Cell(event.kind.replace("_", " ")),
                Cell(event.message),
            )
            for event in history.events
        ]
        yield table("Events", columns, rows)
    yield Collapsible("Epoch by epoch", (_epochs(history),))


def _phases(history: History) -> Table:
    names = _names(history, [row.metrics for row in history.phases])
    columns = [
        Column("phase", True),
        *(Column(title, True) for title in ("rate", "batch", "epochs", "steps", "examples/s")),
        *(Column(name, True) for name in names),
        Column("began because"),
    ]
    rows = [
        (
            figure(row.phase + 1, "d"),
            figure(row.learning_rate),
            figure(row.global_batch_size, ","),
            figure(row.epochs, ","),
            figure(row.steps, ","),
            figure(row.examples_per_s, ",.0f"),
            *metric_cells(row.metrics, names),
            Cell(row.reason),
        )
        for row in history.phases
    ]
    return table("Phases", columns, rows)


def _epochs(history: History) -> Table:
    names = _names(history, [row.metrics for row in history.epochs])
    headings = ("phase", "rate", "batch", "steps", "examples/s", "wait %", "step ms", "seconds")
    columns = [Column("epoch", True), *(Column(title, True) for title in (*headings, *names))]
    shown = thinned(history.epochs, _MOST_ROWS)
    rows = [
        (
            figure(row.epoch + 1, "d"),
            figure(row.phase + 1, "d"),
            figure(row.learning_rate),
            figure(row.global_batch_size, ","),
            figure(row.steps, ","),
            figure(row.examples_per_s, ",.0f"),
            figure(row.input_wait_pct, ".1f"),
            figure(row.step_ms_p50, ".2f"),
            figure(row.seconds, ".2f"),
            *metric_cells(row.metrics, names),
        )
        for row in shown
    ]
    left_out = len(history.epochs) - len(shown)
    note = f"{left_out:,} epochs in between are left out." if left_out else ""
    return table("Epochs", columns, rows, note)


def _names(history: History, found: Sequence) -> list[str]:
    """Metrics that occur, those of the training before those of the validation."""
    there = {name for metrics in found for name in metrics}
    names = metric_names([history])
    return [n for n in (*names, *(VALIDATION + name for name in names)) if n in there]


def _input(history: History) -> Iterator[Block]:
    if not history.epochs:
        yield Note("No epoch was trained.", "missing")
        return
    advice = dict.fromkeys((row.verdict, row.advice) for row in history.phases if row.verdict)
    for verdict, text in advice:
        phases = [str(row.phase + 1) for row in history.phases if row.verdict == verdict]
        which = "all phases" if len(phases) == len(history.phases) else f"phase {', '.join(phases)}"
        yield Note(f"{verdict} in {which}: {text}", "warn" if verdict == "input-bound" else "")
    yield Charts(speed_charts(history))
    headings = ("examples/s", "device could", "feed could", "of device %", "wait %", "seconds")
    columns = [
        Column("phase", True),
        *(Column(title, True) for title in headings),
        Column("bound by"),
    ]
    yield table("What held each phase back", columns, [_bound(row) for row in history.phases])


def _bound(row: PhaseRecord) -> tuple[Cell, ...]:
    return (
        figure(row.phase + 1, "d"),
        figure(row.examples_per_s, ",.0f"),
        figure(row.device_ceiling, ",.0f"),
        figure(row.input_ceiling, ",.0f"),
        figure(row.utilization_pct, ".0f"),
        figure(row.input_wait_pct, ".1f"),
        figure(row.seconds, ".1f"),
        Cell(row.verdict.removesuffix("-bound")),
    )


def _strategy(history: History) -> Iterator[Block]:
    placement = history.placement
    replicas = (
        placement.replicas if placement else max((r.replicas for r in history.epochs), default=1)
    )
    text = f"Trained with {history.strategy} on {replicas} replica{'s' if replicas != 1 else ''}"
    if placement and placement.learning_rate_rule != "none":
        text += f"; learning rates scaled by the rule {placement.learning_rate_rule}"
    if placement and placement.attempts > 1:
        text += f"; its processes were started {placement.attempts} times"
    yield Note(f"{text}.")
    if not history.candidates:
        yield Note(
            "The strategy was named, so none was compared with others. With auto, the candidates "
            "are probed and predicted, and this section sets that against what happened.",
            "missing",
        )
        return
    chart = candidates_chart(history.candidates)
    if chart is not None:
        yield Charts([chart])
    headings = ("replicas", "predicted", "from", "to", "took", "took / predicted", "cost")
    columns = [
        Column("strategy"),
        *(Column(title, True) for title in headings),
        Column("verdict"),
        Column("why"),
    ]
    yield table("Candidates", columns, [_candidate(row) for row in history.candidates])


def _candidate(row: CandidateRecord) -> tuple[Cell, ...]:
    return (
        Cell(row.strategy),
        figure(row.replicas, "d"),
        _seconds(row.predicted_s),
        _seconds(row.low_s),
        _seconds(row.high_s),
        _seconds(row.actual_s),
        figure(row.actual_to_predicted, ".2f"),
        figure(row.cost, ".3g"),
        Cell(row.verdict, style=_VERDICTS.get(row.verdict, "warn" if "too" in row.verdict else "")),
        Cell(row.reason),
    )


def _seconds(value: float | None) -> Cell:
    return Cell("") if value is None else Cell(format_duration(value), value)
