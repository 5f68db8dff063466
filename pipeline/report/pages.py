"""Pages of a report: one run, or several runs side by side."""

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
    Tile,
    Tiles,
    format_utc,
    number_cell,
    table,
)
from tfx_feeder.pipeline.report.charts.compare import compared_charts
from tfx_feeder.pipeline.report.charts.rows import (
    MAX_POINTS,
    epoch_rows,
    metric_names,
    phase_rows,
    setting_rows,
)
from tfx_feeder.pipeline.report.charts.slices import compared_slices_chart
from tfx_feeder.pipeline.report.facts import EvaluationFacts, RunFacts, Unavailable
from tfx_feeder.pipeline.report.sections.data import data_section
from tfx_feeder.pipeline.report.sections.evaluation import (
    MAX_SLICES_LISTED,
    blessing_notes,
    evaluation_section,
)
from tfx_feeder.pipeline.report.sections.store import (
    STATE_STYLES,
    blessing_cell,
    failure_notes,
    lineage_section,
    pipeline_section,
    reproduction_section,
    versions_section,
)
from tfx_feeder.pipeline.report.sections.training import (
    input_section,
    strategy_section,
    training_section,
)
from tfx_feeder.schemas.training_history import History


def run_page(facts: RunFacts) -> Page:
    """Returns the page about a run."""
    history = facts.history
    return Page(
        title=facts.run.id,
        eyebrow=f"Pipeline {facts.run.pipeline or '(unnamed)'} · run",
        badges=tuple(_badges(facts)),
        sections=(
            Section("summary", "Summary", tuple(_summary(facts))),
            pipeline_section(facts),
            training_section(history),
            input_section(history),
            strategy_section(history),
            evaluation_section(facts.evaluation),
            data_section(facts),
            lineage_section(facts),
            versions_section(facts),
            reproduction_section(facts.reproduction),
        ),
        data={}
        if isinstance(history, Unavailable)
        else {
            "epochs": epoch_rows(history, metric_names([history])),
            "settings": setting_rows(history),
            "phases": phase_rows(history),
        },
        written_at=facts.collected_at,
    )


def _badges(facts: RunFacts) -> Iterator[Badge]:
    yield Badge(facts.run.state.lower(), STATE_STYLES.get(facts.run.state, ""))
    if isinstance(facts.evaluation, EvaluationFacts) and facts.evaluation.result.gated:
        blessed = facts.evaluation.result.blessed
        yield Badge("blessed" if blessed else "not blessed", "ok" if blessed else "bad")
    if facts.model and facts.model.live:
        yield Badge("live", "ok")
    if facts.model and facts.model.withdrawn:
        yield Badge("withdrawn", "warn")


def _summary(facts: RunFacts) -> Iterator[Block]:
    yield Tiles(tuple(_tiles(facts)))
    yield from failure_notes(facts)
    if isinstance(facts.evaluation, EvaluationFacts):
        yield from blessing_notes(facts.evaluation)
    yield _pushed(facts)


def _pushed(facts: RunFacts) -> Note:
    model = facts.model
    if model is None:
        return Note("This run has no model.", "missing")
    name = f"Model {model.model.id}"
    if model.run_id != facts.run.id:
        name += f" of the earlier run {model.run_id}"
    if model.withdrawn:
        return Note(f"{name} was withdrawn: {model.withdrawn}", "warn")
    if not model.pushes:
        return Note(f"{name} was not pushed.", "warn")
    push = model.pushes[-1]
    live = " and is live" if model.live else "; a newer version is live"
    return Note(f"{name} was pushed as version {push.version} to {push.destination}{live}.", "ok")


def _tiles(facts: RunFacts) -> Iterator[Tile]:
    run, history = facts.run, facts.history
    if isinstance(facts.evaluation, EvaluationFacts) and (primary := facts.evaluation.primary):
        detail = "no baseline"
        if primary.change is not None:
            detail = f"{primary.change:+.4f} vs. baseline"
        style = "bad" if primary.missed else "ok" if primary.gate else ""
        yield Tile(
            f"{primary.row.metric}, {primary.row.slice}",
            f"{primary.row.candidate:.4f}",
            detail,
            style,
        )
    yield Tile("Duration", format_elapsed(run.seconds), f"started {format_utc(run.created_at)}")
    if facts.data.span is not None or isinstance(facts.data.splits, tuple):
        yield _data_tile(facts)
    if isinstance(history, History) and history.epochs:
        yield from _training_tiles(history)


def _data_tile(facts: RunFacts) -> Tile:
    splits = facts.data.splits if isinstance(facts.data.splits, tuple) else ()
    counts = [f"{s.examples:,} {s.name}" for s in splits if s.examples is not None]
    total = sum(split.examples or 0 for split in splits)
    value = f"{total:,}" if counts else "not counted"
    span = "" if facts.data.span is None else f", span {facts.data.span}"
    return Tile(f"Examples{span}", value, ", ".join(counts))


def _training_tiles(history: History) -> Iterator[Tile]:
    summary = history.summary()
    phases, epochs = len(history.phases), len(history.epochs)
    detail = (
        f"{epochs} epoch{'s' if epochs != 1 else ''}, {phases} phase{'s' if phases != 1 else ''}"
    )
    yield Tile("Training time", format_elapsed(history.seconds), f"{detail}, {history.strategy}")
    speed, wait = float(summary["examples_per_s"]), float(summary["input_wait_pct"])
    yield Tile("Examples per second", f"{speed:,.0f}", f"input wait {wait:.1f}%")


MAX_RUNS = 8
"""Maximum number of runs with distinguishable colors."""
_LISTED_ELSEWHERE = ("outcome", "training", "metrics")
"""Sections of facts that have tables of their own."""

_LEAD = "Solid lines show validation metrics, dashed lines training metrics."

Runs = Mapping[str, RunFacts]
"""Runs by letter."""


def compare_page(runs: Sequence[RunFacts]) -> Page:
    """Returns the page that compares several runs, lettered in the given order."""
    lettered = {chr(ord("A") + index): facts for index, facts in enumerate(runs)}
    pipelines = sorted({facts.run.pipeline for facts in runs})
    histories = _histories(lettered)
    metrics = metric_names(list(histories.values()))
    max_points = MAX_POINTS // len(runs)
    return Page(
        title=f"{len(runs)} runs compared",
        eyebrow=f"Pipeline{'s' if len(pipelines) > 1 else ''} {', '.join(pipelines)}",
        badges=[Badge(f"{letter} · {facts.run.id}") for letter, facts in lettered.items()],
        sections=(
            Section("summary", "Summary", (_compared_summary(lettered),)),
            Section("training", "Training", tuple(_compared_training(lettered)), _LEAD),
            Section("evaluation", "Evaluation", tuple(_compared_evaluation(lettered))),
            Section("differences", "Differences", (_differences(lettered),)),
            Section("components", "Components", (_components(lettered),)),
        ),
        data={
            "epochs": [
                r for run, h in histories.items() for r in epoch_rows(h, metrics, run, max_points)
            ],
            "settings": [
                r for run, h in histories.items() for r in setting_rows(h, run, max_points)
            ],
        },
        written_at=max(facts.collected_at for facts in runs),
    )


def _histories(runs: Runs) -> dict[str, History]:
    return {run: f.history for run, f in runs.items() if isinstance(f.history, History)}


def _evaluations(runs: Runs) -> dict[str, EvaluationFacts]:
    return {
        run: f.evaluation for run, f in runs.items() if isinstance(f.evaluation, EvaluationFacts)
    }


def _columns(first: str, runs: Runs) -> list[Column]:
    return [Column(first), *(Column(run, True, index) for index, run in enumerate(runs))]


def _compared_summary(runs: Runs) -> Table:
    figures_of_runs = [dict(_summary_cells(facts)) for facts in runs.values()]
    names = dict.fromkeys(name for figures in figures_of_runs for name in figures)
    rows = [
        (Cell(name), *(figures.get(name, Cell("")) for figures in figures_of_runs))
        for name in names
    ]
    return table("Side by side", _columns("property", runs), rows)


def _summary_cells(facts: RunFacts) -> Iterator[tuple[str, Cell]]:
    run, data, history = facts.run, facts.data, facts.history
    yield "state", Cell(run.state.lower(), style=STATE_STYLES.get(run.state, ""))
    yield "started", Cell(format_utc(run.created_at), run.created_at.timestamp())
    yield "duration", Cell(format_elapsed(run.seconds), run.seconds)
    yield "span", number_cell(data.span, "d")
    for split in data.splits if isinstance(data.splits, tuple) else ():
        yield f"examples in {split.name}", number_cell(split.examples, ",")
    if isinstance(history, History) and history.epochs:
        summary = history.summary()
        yield "strategy", Cell(history.strategy)
        yield "epochs", number_cell(len(history.epochs), ",")
        yield "phases", number_cell(len(history.phases), ",")
        yield "training time", Cell(format_elapsed(history.seconds), history.seconds)
        yield "examples per second", number_cell(float(summary["examples_per_s"]), ",.0f")
        yield "input wait %", number_cell(float(summary["input_wait_pct"]), ".1f")
        for name, value in history.epochs[-1].metrics.items():
            yield f"final {name}", number_cell(value, ".4f")
    if isinstance(facts.evaluation, EvaluationFacts):
        for metric, slices in facts.evaluation.slices.items():
            yield f"{metric}, {slices[0].row.slice}", number_cell(slices[0].row.candidate, ".4f")
    if facts.model is not None:
        yield "model", Cell(f"{facts.model.model.id}")
        yield "blessed", blessing_cell(facts.model)
        yield "pushed as", Cell(", ".join(push.version for push in facts.model.pushes))


def _compared_training(runs: Runs) -> Iterator[Block]:
    histories = _histories(runs)
    for run, facts in runs.items():
        if isinstance(facts.history, Unavailable):
            yield Note(f"{run}: {facts.history.reason}", "missing")
    if any(history.epochs for history in histories.values()):
        yield Charts(compared_charts(histories, list(runs)))


def _compared_evaluation(runs: Runs) -> Iterator[Block]:
    evaluations = _evaluations(runs)
    for run, facts in runs.items():
        if isinstance(facts.evaluation, Unavailable):
            yield Note(f"{run}: {facts.evaluation.reason}", "missing")
    metrics = dict.fromkeys(metric for e in evaluations.values() for metric in e.slices)
    for index, metric in enumerate(metrics):
        chart = compared_slices_chart(index, metric, evaluations, list(runs))
        if chart is not None and index == 0:
            yield Charts([chart])
        yield _slices(metric, runs, evaluations, MAX_SLICES_LISTED // len(metrics))


def _slices(
    metric: str, runs: Runs, evaluations: Mapping[str, EvaluationFacts], max_rows: int
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
            cells.append(number_cell(part.row.candidate if part else None, ".4f", style=style))
        rows.append(cells)
    note = "Values that missed a threshold are red."
    return table(f"{metric} by slice", _columns("slice", runs), rows, note, max_rows)


def _differences(runs: Runs) -> Block:
    """Returns the inputs and settings that differ between runs."""
    facts = {run: facts_of_run(f.run).values for run, f in runs.items()}
    names = dict.fromkeys(name for values in facts.values() for name in values)
    rows = []
    for section, name in sorted(names, key=lambda name: SECTIONS.index(name[0])):
        values = [of_run.get((section, name)) for of_run in facts.values()]
        if section not in _LISTED_ELSEWHERE and any(value != values[0] for value in values):
            label = name if section == "properties" else f"{section}: {name}"
            rows.append((Cell(label), *map(_value, values)))
    if not rows:
        return Note("The runs have the same data, code and settings.", "ok")
    return table("Differing inputs and settings", _columns("property", runs), rows)


def _value(value: Value | None) -> Cell:
    if value is None:
        return Cell("none", style="muted")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number_cell(value, ".6g")
    return Cell(str(value))


def _components(runs: Runs) -> Table:
    by_node: dict[str, dict[str, Execution]] = {}
    for run, facts in runs.items():
        for execution in facts.run.executions:
            by_node.setdefault(execution.node, {})[run] = execution
    rows = [
        (Cell(node), *(_run_time(of_run.get(run)) for run in runs))
        for node, of_run in by_node.items()
    ]
    return table("Run time by component", _columns("component", runs), rows)


def _run_time(execution: Execution | None) -> Cell:
    if execution is None:
        return Cell("none", style="muted")
    if execution.state != "COMPLETE":
        return Cell(execution.state.lower(), style=STATE_STYLES.get(execution.state, ""))
    return Cell(format_elapsed(execution.seconds), execution.seconds)
