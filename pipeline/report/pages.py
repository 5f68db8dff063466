"""The page about one run: which sections it has, and what stands above them."""

from collections.abc import Iterator

from tfx_feeder.common.durations import format_elapsed
from tfx_feeder.pipeline.report.blocks import (
    Badge,
    Block,
    Note,
    Page,
    Section,
    Tile,
    Tiles,
    clock,
)
from tfx_feeder.pipeline.report.charts.rows import (
    epoch_rows,
    metric_names,
    phase_rows,
    setting_rows,
)
from tfx_feeder.pipeline.report.facts import EvaluationFacts, RunFacts, Unavailable
from tfx_feeder.pipeline.report.sections.data import data_section
from tfx_feeder.pipeline.report.sections.evaluation import evaluation_section, verdict_notes
from tfx_feeder.pipeline.report.sections.store import (
    STATE_STYLES,
    failures,
    lineage_section,
    pipeline_section,
    reproduction_section,
    state_word,
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
        over=f"Pipeline {facts.run.pipeline or 'without a name'} · run",
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
        written=facts.written,
    )


def _badges(facts: RunFacts) -> Iterator[Badge]:
    yield Badge(state_word(facts.run.state), STATE_STYLES.get(facts.run.state, ""))
    if isinstance(facts.evaluation, EvaluationFacts) and facts.evaluation.judgement.gated:
        blessed = facts.evaluation.judgement.blessed
        yield Badge("blessed" if blessed else "not blessed", "ok" if blessed else "bad")
    if facts.model and facts.model.live:
        yield Badge("live", "ok")
    if facts.model and facts.model.withdrawn:
        yield Badge("withdrawn", "warn")


def _summary(facts: RunFacts) -> Iterator[Block]:
    yield Tiles(tuple(_tiles(facts)))
    yield from failures(facts)
    if isinstance(facts.evaluation, EvaluationFacts):
        yield from verdict_notes(facts.evaluation)
    yield _pushed(facts)


def _pushed(facts: RunFacts) -> Note:
    model = facts.model
    if model is None:
        return Note("This run has no model.", "missing")
    name = f"Model {model.model.id}"
    if model.run_id != facts.run.id:
        name += f", trained by the earlier run {model.run_id},"
    if model.withdrawn:
        return Note(f"{name} was withdrawn: {model.withdrawn}", "warn")
    if not model.pushes:
        return Note(f"{name} was not pushed.", "warn")
    push = model.pushes[-1]
    live = ", and is live" if model.live else "; a newer version is live"
    return Note(f"{name} was pushed as version {push.version} to {push.destination}{live}.", "ok")


def _tiles(facts: RunFacts) -> Iterator[Tile]:
    run, history = facts.run, facts.history
    if isinstance(facts.evaluation, EvaluationFacts) and (best := facts.evaluation.headline):
        against = "no baseline"
        if best.change is not None:
            against = f"{best.change:+.4f} against the baseline"
        style = "bad" if best.missed else "ok" if best.gate else ""
        yield Tile(
            f"{best.row.metric}, {best.row.slice}", f"{best.row.candidate:.4f}", against, style
        )
    yield Tile("Took", format_elapsed(run.seconds), f"from {clock(run.created)}")
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
    of = f"{epochs} epoch{'s' if epochs != 1 else ''}, {phases} phase{'s' if phases != 1 else ''}"
    yield Tile("Trained", format_elapsed(history.seconds), f"{of}, {history.strategy}")
    speed, wait = float(summary["examples_per_s"]), float(summary["input_wait_pct"])
    yield Tile("Examples per second", f"{speed:,.0f}", f"waited {wait:.1f} % for input")
