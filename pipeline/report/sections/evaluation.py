"""Evaluation section: candidate, baseline and threshold on every slice."""

from collections.abc import Iterator, Sequence

from tfx_feeder.pipeline.report.blocks import (
    Block,
    Cell,
    Charts,
    Collapsible,
    Column,
    Gallery,
    Note,
    Picture,
    Section,
    Table,
    number_cell,
    table,
)
from tfx_feeder.pipeline.report.charts.answers import answer_charts
from tfx_feeder.pipeline.report.charts.slices import differences_chart, slices_chart
from tfx_feeder.pipeline.report.facts import EvaluationFacts, GatedSlice, Unavailable
from tfx_feeder.schemas.answer_plots import AnswerPlots, DifferingExample
from tfx_feeder.schemas.gate_report import PASSED, REFUSED, UNDECIDED

MAX_SLICES_LISTED = 3_000
"""Maximum number of listed slices of all metrics together."""
_STYLES = {"met": "ok", PASSED: "ok", "missed": "bad", REFUSED: "bad", UNDECIDED: "warn"}


def evaluation_section(evaluation: EvaluationFacts | Unavailable) -> Section:
    """Returns the evaluation section."""
    if isinstance(evaluation, Unavailable):
        blocks: tuple[Block, ...] = (Note(evaluation.reason, "missing"),)
    else:
        blocks = (*blessing_notes(evaluation), *_metrics(evaluation), *_answers(evaluation.plots))
    return Section("evaluation", "Evaluation", blocks)


def blessing_notes(evaluation: EvaluationFacts) -> Iterator[Note]:
    """Yields the blessing, and a note for each missed threshold."""
    result = evaluation.result
    if not result.gated:
        yield Note("The evaluation has no thresholds, so it cannot bless the model.")
    elif result.blessed:
        reason = evaluation.report.reason if evaluation.report else "the model met all thresholds."
        yield Note(f"Blessed: {reason}", "ok")
    for cause in result.causes:
        yield Note(f"Not blessed: {cause}", "bad")


def _metrics(evaluation: EvaluationFacts) -> Iterator[Block]:
    max_slices = MAX_SLICES_LISTED // max(1, len(evaluation.slices))
    for index, (metric, slices) in enumerate(evaluation.slices.items()):
        blocks = (*_chart(index, metric, slices), _table(metric, slices, max_slices))
        # Metrics with thresholds are expanded; without thresholds, the first metric is.
        if any(part.gate for part in slices) or index == 0:
            yield from blocks
        else:
            yield Collapsible(metric, blocks)


def _answers(plots: AnswerPlots) -> Iterator[Block]:
    charts = answer_charts(plots)
    if charts:
        yield Charts(charts, grid=True)
    for title, examples in (
        ("Examples that only the baseline answers right", plots.lost),
        ("Examples that only the candidate answers right", plots.won),
    ):
        if examples:
            yield Gallery(title, [Picture(each.image, _caption(each)) for each in examples])


def _caption(example: DifferingExample) -> str:
    return f"label {example.label}; candidate {example.candidate}, baseline {example.baseline}"


def _chart(index: int, metric: str, slices: Sequence[GatedSlice]) -> Iterator[Block]:
    charts = (slices_chart(index, metric, slices), differences_chart(index, metric, slices))
    if drawn := [chart for chart in charts if chart is not None]:
        yield Charts(drawn)


def _table(metric: str, slices: Sequence[GatedSlice], max_rows: int) -> Table:
    columns = [
        Column("slice"),
        Column("origin"),
        *(Column(title, True) for title in ("examples", "candidate", "baseline", "change")),
        Column("95 % interval"),
        Column("threshold"),
        Column("result"),
    ]
    rows = [_row(part) for part in slices]
    return table(f"{metric} by slice", columns, rows, max_rows=max_rows)


def _interval(part: GatedSlice) -> str:
    result = part.result
    if result is None or result.low is None or result.high is None:
        return ""
    return f"{result.low:+.3f} to {result.high:+.3f}"


def _row(part: GatedSlice) -> tuple[Cell, ...]:
    row = part.row
    verdict = part.verdict
    result = Cell(verdict or "no threshold", style=_STYLES.get(verdict, "muted"))
    return (
        Cell(row.slice),
        Cell(part.result.origin if part.result else ""),
        number_cell(row.examples, ","),
        number_cell(row.candidate, ".4f"),
        Cell("none", style="muted") if row.baseline is None else number_cell(row.baseline, ".4f"),
        number_cell(part.change, "+.4f"),
        Cell(_interval(part)),
        Cell(str(part.gate or "")),
        result,
    )
