"""The page about several runs side by side."""

from collections.abc import Iterator, Mapping, Sequence

from tfx_feeder.common.durations import format_elapsed
from tfx_feeder.pipeline.metadata.facts import SECTIONS, Value, facts_of_run
from tfx_feeder.pipeline.metadata.types import Execution
from tfx_feeder.pipeline.report.blocks import (
    Badge,
    Block,
    Cell,
    Charts,
    Column,
    Note,
    Page,
    Section,
    Table,
    clock,
    figure,
    table,
)
from tfx_feeder.pipeline.report.charts.compare import compared_charts
from tfx_feeder.pipeline.report.charts.rows import (
    MOST_POINTS,
    epoch_rows,
    metric_names,
    setting_rows,
)
from tfx_feeder.pipeline.report.charts.slices import compared_slices_chart
from tfx_feeder.pipeline.report.facts import EvaluationFacts, RunFacts, Unavailable
from tfx_feeder.pipeline.report.sections.evaluation import MOST_SLICES
from tfx_feeder.pipeline.report.sections.store import STATE_STYLES, judged, state_word
from tfx_feeder.schemas.training_history import History

MOST_RUNS = 8
"""More could not be told apart by their colours."""
_SHOWN_ABOVE = ("outcome", "training", "metrics")
"""Facts that have tables of their own."""

_LEAD = "Lines drawn through are of the validation, dashed ones of the training."

Runs = Mapping[str, RunFacts]
"""The runs by their letter."""


def compare_page(runs: Sequence[RunFacts]) -> Page:
    """Returns the page about several runs, lettered in the order in which they are given."""
    lettered = {chr(ord("A") + index): facts for index, facts in enumerate(runs)}
    pipelines = sorted({facts.run.pipeline for facts in runs})
    histories = _histories(lettered)
    metrics = metric_names(list(histories.values()))
    most = MOST_POINTS // len(runs)
    return Page(
        title=f"{len(runs)} runs compared",
        over=f"Pipeline{'s' if len(pipelines) > 1 else ''} {', '.join(pipelines)}",
        badges=[Badge(f"{letter} · {facts.run.id}") for letter, facts in lettered.items()],
        sections=(
            Section("summary", "Summary", (_summary(lettered),)),
            Section("training", "Training", tuple(_training(lettered)), _LEAD),
            Section("evaluation", "EvaluationFacts", tuple(_evaluation(lettered))),
            Section("differences", "Differences", (_differences(lettered),)),
            Section("components", "Components", (_components(lettered),)),
        ),
        data={
            "epochs": [
                r for run, h in histories.items() for r in epoch_rows(h, metrics, run, most)
            ],
            "settings": [r for run, h in histories.items() for r in setting_rows(h, run, most)],
        },
        written=max(facts.written for facts in runs),
    )


def _histories(runs: Runs) -> dict[str, History]:
    return {run: f.history for run, f in runs.items() if isinstance(f.history, History)}


def _evaluations(runs: Runs) -> dict[str, EvaluationFacts]:
    return {
        run: f.evaluation for run, f in runs.items() if isinstance(f.evaluation, EvaluationFacts)
    }


def _columns(first: str, runs: Runs) -> list[Column]:
    return [Column(first), *(Column(run, True, index) for index, run in enumerate(runs))]


def _summary(runs: Runs) -> Table:
    told = [dict(_figures(facts)) for facts in runs.values()]
    names = dict.fromkeys(name for figures in told for name in figures)
    rows = [(Cell(name), *(figures.get(name, Cell("")) for figures in told)) for name in names]
    return table("Side by side", _columns("what", runs), rows)


def _figures(facts: RunFacts) -> Iterator[tuple[str, Cell]]:
    run, data, history = facts.run, facts.data, facts.history
    yield "state", Cell(state_word(run.state), style=STATE_STYLES.get(run.state, ""))
    yield "began", Cell(clock(run.created), run.created.timestamp())
    yield "took", Cell(format_elapsed(run.seconds), run.seconds)
    yield "span", figure(data.span, "d")
    for split in data.splits if isinstance(data.splits, tuple) else ():
        yield f"examples in {split.name}", figure(split.examples, ",")
    if isinstance(history, History) and history.epochs:
        summary = history.summary()
        yield "strategy", Cell(history.strategy)
        yield "epochs", figure(len(history.epochs), ",")
        yield "phases", figure(len(history.phases), ",")
        yield "training took", Cell(format_elapsed(history.seconds), history.seconds)
        yield "examples per second", figure(float(summary["examples_per_s"]), ",.0f")
        yield "waited for input, %", figure(float(summary["input_wait_pct"]), ".1f")
        for name, value in history.epochs[-1].metrics.items():
            yield f"{name} at the end", figure(value, ".4f")
    if isinstance(facts.evaluation, EvaluationFacts):
        for metric, slices in facts.evaluation.slices.items():
            yield f"{metric}, {slices[0].row.slice}", figure(slices[0].row.candidate, ".4f")
    if facts.model is not None:
        yield "model", Cell(f"{facts.model.model.id}")
        yield "blessed", judged(facts.model)
        yield "pushed as", Cell(", ".join(push.version for push in facts.model.pushes))


def _training(runs: Runs) -> Iterator[Block]:
    histories = _histories(runs)
    for run, facts in runs.items():
        if isinstance(facts.history, Unavailable):
            yield Note(f"{run}: {facts.history.reason}", "missing")
    if any(history.epochs for history in histories.values()):
        yield Charts(compared_charts(histories, list(runs)))


def _evaluation(runs: Runs) -> Iterator[Block]:
    evaluations = _evaluations(runs)
    for run, facts in runs.items():
        if isinstance(facts.evaluation, Unavailable):
            yield Note(f"{run}: {facts.evaluation.reason}", "missing")
    metrics = dict.fromkeys(metric for e in evaluations.values() for metric in e.slices)
    for index, metric in enumerate(metrics):
        chart = compared_slices_chart(index, metric, evaluations, list(runs))
        if chart is not None and index == 0:
            yield Charts([chart])
        yield _slices(metric, runs, evaluations, MOST_SLICES // len(metrics))


def _slices(
    metric: str, runs: Runs, evaluations: Mapping[str, EvaluationFacts], most: int
) -> Table:
    values = {
        run: {part.row.slice: part for part in evaluation.slices.get(metric, ())}
        for run, evaluation in evaluations.items()
    }
    names = dict.fromkeys(name for of_run in values.values() for name in of_run)
    rows = []
    for name in names:
        cells = [Cell(name)]
        for run in runs:
            part = values.get(run, {}).get(name)
            style = "bad" if part and part.missed else ""
            cells.append(figure(part.row.candidate if part else None, ".4f", style=style))
        rows.append(cells)
    note = "Where a gate was missed, the figure is red."
    return table(f"{metric} by slice", _columns("slice", runs), rows, note, most)


def _differences(runs: Runs) -> Block:
    """What the runs were made with, as far as it is not the same everywhere."""
    facts = {run: facts_of_run(f.run).values for run, f in runs.items()}
    names = dict.fromkeys(name for values in facts.values() for name in values)
    rows = []
    for section, name in sorted(names, key=lambda name: SECTIONS.index(name[0])):
        values = [of_run.get((section, name)) for of_run in facts.values()]
        if section not in _SHOWN_ABOVE and any(value != values[0] for value in values):
            about = name if section == "properties" else f"{section}: {name}"
            rows.append((Cell(about), *map(_value, values)))
    if not rows:
        return Note("The runs were made with the same data, code and settings.", "ok")
    return table("What the runs were made with, where it differs", _columns("what", runs), rows)


def _value(value: Value | None) -> Cell:
    if value is None:
        return Cell("none", style="muted")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return figure(value, ".6g")
    return Cell(str(value))


def _components(runs: Runs) -> Table:
    by_node: dict[str, dict[str, Execution]] = {}
    for run, facts in runs.items():
        for execution in facts.run.executions:
            by_node.setdefault(execution.node, {})[run] = execution
    rows = [
        (Cell(node), *(_took(of_run.get(run)) for run in runs)) for node, of_run in by_node.items()
    ]
    return table("Time of each component", _columns("component", runs), rows)


def _took(execution: Execution | None) -> Cell:
    if execution is None:
        return Cell("none", style="muted")
    if execution.state != "COMPLETE":
        return Cell(state_word(execution.state), style=STATE_STYLES.get(execution.state, ""))
    return Cell(format_elapsed(execution.seconds), execution.seconds)
