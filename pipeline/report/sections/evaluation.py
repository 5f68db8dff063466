"""The section of a report with candidate, baseline and gate on every slice."""

from collections.abc import Iterator, Sequence

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
from tfx_feeder.pipeline.report.charts.slices import slices_chart
from tfx_feeder.pipeline.report.facts import EvaluationFacts, GatedSlice, Unavailable

MOST_SLICES = 3_000
"""Slices that are listed, of all metrics together."""


def evaluation_section(evaluation: EvaluationFacts | Unavailable) -> Section:
    """Returns why a model was blessed or not, and every metric on every slice."""
    if isinstance(evaluation, Unavailable):
        blocks: tuple[Block, ...] = (Note(evaluation.reason, "missing"),)
    else:
        blocks = (*verdict_notes(evaluation), *_metrics(evaluation))
    return Section("evaluation", "Evaluation", blocks)


def verdict_notes(evaluation: EvaluationFacts) -> Iterator[Note]:
    """Yields whether the model was blessed, and a line for each threshold that was missed."""
    judgement = evaluation.judgement
    if not judgement.gated:
        yield Note("The evaluation has no thresholds, so the model is neither blessed nor not.")
    elif judgement.blessed:
        yield Note("Blessed: every gate was passed.", "ok")
    for cause in judgement.causes:
        yield Note(f"Not blessed: {cause}", "bad")


def _metrics(evaluation: EvaluationFacts) -> Iterator[Block]:
    most = MOST_SLICES // max(1, len(evaluation.slices))
    for index, (metric, slices) in enumerate(evaluation.slices.items()):
        blocks = (*_chart(index, metric, slices), _table(metric, slices, most))
        # What was gated is seen at once; of an evaluation without gates, the first metric is.
        if any(part.gate for part in slices) or index == 0:
            yield from blocks
        else:
            yield Collapsible(metric, blocks)


def _chart(index: int, metric: str, slices: Sequence[GatedSlice]) -> Iterator[Block]:
    chart = slices_chart(index, metric, slices)
    if chart is not None:
        yield Charts([chart])


def _table(metric: str, slices: Sequence[GatedSlice], most: int) -> Table:
    columns = [
        Column("slice"),
        *(Column(title, True) for title in ("examples", "candidate", "baseline", "change")),
        Column("gate"),
        Column("result"),
    ]
    rows = [_row(part) for part in slices]
    return table(f"{metric} by slice", columns, rows, most=most)


def _row(part: GatedSlice) -> tuple[Cell, ...]:
    row = part.row
    result = Cell("no gate", style="muted")
    if part.missed:
        result = Cell("missed", style="bad")
    elif part.gate is not None:
        result = Cell("passed", style="ok")
    return (
        Cell(row.slice),
        figure(row.examples, ","),
        figure(row.candidate, ".4f"),
        Cell("none", style="muted") if row.baseline is None else figure(row.baseline, ".4f"),
        figure(part.change, "+.4f"),
        Cell(str(part.gate or "")),
        result,
    )
