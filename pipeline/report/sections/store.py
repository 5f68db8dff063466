"""The sections of a report about what the store knows: components, lineage, versions, settings."""

from collections.abc import Iterator

from tfx_feeder.pipeline.metadata.describe import elapsed, error_message, summarize
from tfx_feeder.pipeline.metadata.models import ModelVersion
from tfx_feeder.pipeline.metadata.types import CACHED, CANCELED, COMPLETE, FAILED, RUNNING, Artifact
from tfx_feeder.pipeline.report.blocks import (
    Block,
    Cell,
    Charts,
    Collapsible,
    Column,
    DefinitionList,
    Figure,
    Note,
    Section,
    clock,
    figure,
    table,
)
from tfx_feeder.pipeline.report.charts.models import versions_chart
from tfx_feeder.pipeline.report.facts import Reproduction, RunFacts, ServedVersion
from tfx_feeder.pipeline.report.graphs.svg import MOST_NODES, lineage_diagrams, pipeline_diagrams

STATE_STYLES = {COMPLETE: "ok", CACHED: "muted", FAILED: "bad", CANCELED: "warn", RUNNING: "warn"}
_TOO_MANY = f"There are more than {MOST_NODES}, too many for a picture; the table has them all."


def pipeline_section(facts: RunFacts) -> Section:
    """Returns the components with states and times."""
    return Section("pipeline", "Pipeline", tuple(_pipeline(facts)))


def lineage_section(facts: RunFacts) -> Section:
    """Returns the artifacts, and what they were made of."""
    lead = "What each artifact was made of. Dashed ones come from earlier runs."
    return Section("lineage", "Lineage", tuple(_lineage(facts)), lead)


def versions_section(facts: RunFacts) -> Section:
    """Returns the models of the pipeline over time."""
    return Section("versions", "Versions", tuple(_versions(facts)))


def reproduction_section(reproduction: Reproduction) -> Section:
    """Returns what it takes to do the run again."""
    return Section("reproduce", "Reproduce", tuple(_reproduction(reproduction)))


def judged(model: ModelVersion) -> Cell:
    """Returns whether a model was blessed."""
    words = {True: ("blessed", "ok"), False: ("not blessed", "bad"), None: ("not judged", "muted")}
    word, style = words[model.blessed]
    return Cell(word, style=style)


def failures(facts: RunFacts) -> Iterator[Note]:
    """Yields why each component failed that did."""
    for execution in facts.run.executions:
        if text := error_message(execution):
            yield Note(f"{execution.node} failed: {text}", "bad")


def state_word(state: str) -> str:
    """Returns the word for a state."""
    return state.lower()


def _pipeline(facts: RunFacts) -> Iterator[Block]:
    run = facts.run
    if not run.executions:
        yield Note("No component of this run has begun.", "missing")
        return
    diagrams = pipeline_diagrams(facts)
    if diagrams is None:
        yield Note(_TOO_MANY, "missing")
    else:
        states = dict.fromkeys(execution.state for execution in run.executions)
        legend = [(state.lower(), state_word(state)) for state in states]
        yield Figure("The components of the run, in the order of the data.", *diagrams, legend)
    yield from failures(facts)
    longest = max((e.seconds for e in run.executions), default=0) or 1
    rows = []
    for execution in run.executions:
        state = Cell(state_word(execution.state), style=STATE_STYLES.get(execution.state, ""))
        took = elapsed(execution.state, execution.seconds, execution.created_at)
        seconds = execution.seconds if took else None
        bar = min(1.0, execution.seconds / longest) if took else None
        made = [a for group in execution.outputs.values() for a in group]
        outputs = ", ".join(f"{artifact.type_name} {artifact.id}" for artifact in made)
        began = Cell(f"{clock(execution.created_at)}", execution.created_at.timestamp())
        node = Cell(execution.node)
        rows.append((node, state, Cell(took, seconds, share=bar), began, Cell(outputs)))
    headings = (Column("component"), Column("state"), Column("time", True))
    yield table("Components", (*headings, Column("began"), Column("made")), rows)


def _lineage(facts: RunFacts) -> Iterator[Block]:
    artifacts: dict[int, tuple[Artifact, str]] = {}
    for execution in facts.run.executions:
        for group in execution.inputs.values():
            artifacts |= {a.id: artifacts.get(a.id, (a, "")) for a in group}
        for group in execution.outputs.values():
            artifacts |= {a.id: (a, execution.node) for a in group}
    if not artifacts:
        yield Note("This run has no artifacts.", "missing")
        return
    diagrams = lineage_diagrams(facts)
    if diagrams is None:
        yield Note(_TOO_MANY, "missing")
    else:
        legend = (
            ("made", "this run"),
            ("earlier", "earlier run"),
            ("missing-files", "files missing"),
        )
        yield Figure("The artifacts of the run, each after what it was made of.", *diagrams, legend)
    columns = (
        Column("id", True),
        Column("type"),
        Column("made by"),
        Column("about"),
        Column("URI"),
    )
    rows = []
    for artifact, node in artifacts.values():
        brief = summarize(artifact)
        earlier = facts.earlier_runs.get(artifact.id)
        by = f"run {earlier}" if earlier else node
        about = (
            Cell("files missing", style="bad")
            if brief.files_missing
            else Cell(", ".join(brief.facts))
        )
        key, name = figure(artifact.id, "d"), Cell(artifact.type_name)
        rows.append((key, name, Cell(by), about, Cell(artifact.uri)))
    yield Collapsible(f"All {len(rows)} artifacts", (table("Artifacts", columns, rows),))


def _versions(facts: RunFacts) -> Iterator[Block]:
    if not facts.versions:
        yield Note("The store knows no model of this pipeline.", "missing")
        return
    chart = versions_chart(facts.versions, facts.metric) if facts.metric else None
    if chart is None:
        yield Note("Metrics over time take two models whose evaluations can be read.", "missing")
    else:
        yield Charts([chart])
    columns = (
        Column("model"),
        Column("trained"),
        Column("span"),
        *([Column(facts.metric, True)] if facts.metric else []),
        Column("blessed"),
        Column("pushed as"),
        Column("run"),
    )
    rows = [_version(version, facts.metric) for version in reversed(facts.versions)]
    yield table("Models, the newest first", columns, rows)


def _version(version: ServedVersion, metric: str) -> tuple[Cell, ...]:
    model = version.model
    pushed = ", ".join(push.version for push in model.pushes)
    if model.live:
        pushed += " (live)"
    if model.withdrawn:
        pushed += f" (withdrawn: {model.withdrawn})"
    here = " (this run)" if version.here else ""
    return (
        Cell(f"{model.model.id}{here}", model.model.id),
        Cell(clock(model.created_at), model.created_at.timestamp()),
        Cell(", ".join(map(str, model.spans))),
        *([figure(version.value, ".4f")] if metric else []),
        judged(model),
        Cell(pushed, style="ok" if model.live else ""),
        Cell(model.run_id),
    )


def _reproduction(reproduction: Reproduction) -> Iterator[Block]:
    if reproduction.commands:
        yield DefinitionList("Commands", reproduction.commands, code=True)
    parts = (
        ("Versions", reproduction.pins, "No versions were recorded."),
        ("Seeds", reproduction.seeds, "No seed was recorded."),
        ("Hashes and code", reproduction.hashes, "No hash of code or data was recorded."),
    )
    for title, items, absent in parts:
        if items:
            yield DefinitionList(title, list(items.items()))
        else:
            yield Note(absent, "missing")
    if reproduction.files:
        files = DefinitionList("", list(reproduction.files.items()))
        yield Collapsible("SHA-256 of the pushed files, by their model card", (files,))
    for node, settings in reproduction.settings.items():
        yield Collapsible(
            f"Settings of {node}", (DefinitionList("", list(settings.items()), code=True),)
        )
