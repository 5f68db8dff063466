"""Sections about the run's metadata: components, lineage, model versions, reproduction."""

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
    format_utc,
    number_cell,
    table,
)
from tfx_feeder.pipeline.report.charts.models import versions_chart
from tfx_feeder.pipeline.report.facts import Reproduction, RunFacts, ServedVersion
from tfx_feeder.pipeline.report.graphs.svg import MAX_NODES, lineage_diagrams, pipeline_diagrams

STATE_STYLES = {COMPLETE: "ok", CACHED: "muted", FAILED: "bad", CANCELED: "warn", RUNNING: "warn"}
_TOO_MANY = f"More than {MAX_NODES} nodes are too many for a diagram; the table lists them all."


def pipeline_section(facts: RunFacts) -> Section:
    """Returns the components with states and times."""
    return Section("pipeline", "Pipeline", tuple(_pipeline(facts)))


def lineage_section(facts: RunFacts) -> Section:
    """Returns the artifacts and their inputs."""
    lead = "Inputs of each artifact. Dashed boxes are artifacts of earlier runs."
    return Section("lineage", "Lineage", tuple(_lineage(facts)), lead)


def versions_section(facts: RunFacts) -> Section:
    """Returns the models of the pipeline over time."""
    return Section("versions", "Versions", tuple(_versions(facts)))


def reproduction_section(reproduction: Reproduction) -> Section:
    """Returns what is needed to reproduce the run."""
    return Section("reproduce", "Reproduce", tuple(_reproduction(reproduction)))


def blessing_cell(model: ModelVersion) -> Cell:
    """Returns the evaluation outcome of a model."""
    styles = {
        True: ("blessed", "ok"),
        False: ("not blessed", "bad"),
        None: ("not evaluated", "muted"),
    }
    text, style = styles[model.blessed]
    return Cell(text, style=style)


def failure_notes(facts: RunFacts) -> Iterator[Note]:
    """Yields the error messages of the failed components."""
    for execution in facts.run.executions:
        if text := error_message(execution):
            yield Note(f"{execution.node} failed: {text}", "bad")


def _pipeline(facts: RunFacts) -> Iterator[Block]:
    run = facts.run
    if not run.executions:
        yield Note("No component of this run has started.", "missing")
        return
    diagrams = pipeline_diagrams(facts)
    if diagrams is None:
        yield Note(_TOO_MANY, "missing")
    else:
        states = dict.fromkeys(execution.state for execution in run.executions)
        legend = [(state.lower(), state.lower()) for state in states]
        yield Figure("Components of the run in the order of the data flow.", *diagrams, legend)
    yield from failure_notes(facts)
    longest = max((e.seconds for e in run.executions), default=0) or 1
    rows = []
    for execution in run.executions:
        state = Cell(execution.state.lower(), style=STATE_STYLES.get(execution.state, ""))
        took = elapsed(execution.state, execution.seconds, execution.created_at)
        seconds = execution.seconds if took else None
        bar = min(1.0, execution.seconds / longest) if took else None
        outputs = ", ".join(f"{a.type_name} {a.id}" for a in execution.output_artifacts)
        started = Cell(format_utc(execution.created_at), execution.created_at.timestamp())
        node = Cell(execution.node)
        rows.append((node, state, Cell(took, seconds, fraction=bar), started, Cell(outputs)))
    headings = (Column("component"), Column("state"), Column("time", True))
    yield table("Components", (*headings, Column("started"), Column("outputs")), rows)


def _lineage(facts: RunFacts) -> Iterator[Block]:
    artifacts: dict[int, tuple[Artifact, str]] = {}
    for execution in facts.run.executions:
        artifacts |= {a.id: artifacts.get(a.id, (a, "")) for a in execution.input_artifacts}
        artifacts |= {a.id: (a, execution.node) for a in execution.output_artifacts}
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
        yield Figure("Artifacts of the run, each after its inputs.", *diagrams, legend)
    columns = (
        Column("id", True),
        Column("type"),
        Column("producer"),
        Column("details"),
        Column("URI"),
    )
    rows = []
    for artifact, node in artifacts.values():
        summary = summarize(artifact)
        earlier = facts.earlier_runs.get(artifact.id)
        producer = f"run {earlier}" if earlier else node
        details = (
            Cell("files missing", style="bad")
            if summary.files_missing
            else Cell(", ".join(summary.facts))
        )
        key, name = number_cell(artifact.id, "d"), Cell(artifact.type_name)
        rows.append((key, name, Cell(producer), details, Cell(artifact.uri)))
    yield Collapsible(f"All {len(rows)} artifacts", (table("Artifacts", columns, rows),))


def _versions(facts: RunFacts) -> Iterator[Block]:
    if not facts.versions:
        yield Note("The store contains no models of this pipeline.", "missing")
        return
    chart = versions_chart(facts.versions, facts.metric) if facts.metric else None
    if chart is None:
        yield Note("A chart over time requires two models with readable evaluations.", "missing")
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
    yield table("Models, newest first", columns, rows)


def _version(version: ServedVersion, metric: str) -> tuple[Cell, ...]:
    model = version.model
    pushed = ", ".join(push.version for push in model.pushes)
    if model.live:
        pushed += " (live)"
    if model.withdrawn:
        pushed += f" (withdrawn: {model.withdrawn})"
    here = " (this run)" if version.is_current else ""
    return (
        Cell(f"{model.model.id}{here}", model.model.id),
        Cell(format_utc(model.created_at), model.created_at.timestamp()),
        Cell(", ".join(map(str, model.spans))),
        *([number_cell(version.value, ".4f")] if metric else []),
        blessing_cell(model),
        Cell(pushed, style="ok" if model.live else ""),
        Cell(model.run_id),
    )


def _reproduction(reproduction: Reproduction) -> Iterator[Block]:
    if reproduction.commands:
        yield DefinitionList("Commands", reproduction.commands, code=True)
    parts = (
        ("Package versions", reproduction.pins, "No package versions were recorded."),
        ("Seeds", reproduction.seeds, "No seeds were recorded."),
        ("Hashes and code", reproduction.hashes, "No hashes of code or data were recorded."),
    )
    for title, items, absent in parts:
        if items:
            yield DefinitionList(title, list(items.items()))
        else:
            yield Note(absent, "missing")
    if reproduction.files:
        files = DefinitionList("", list(reproduction.files.items()))
        yield Collapsible("SHA-256 of the pushed files, from the model card", (files,))
    for node, settings in reproduction.settings.items():
        yield Collapsible(
            f"Settings of {node}", (DefinitionList("", list(settings.items()), code=True),)
        )
