"""The command ``tfx-feeder artifacts``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

import click
from rich.console import RenderableType
from rich.markup import escape

from tfx_feeder.common.durations import format_age, format_time
from tfx_feeder.pipeline.cli.console import print_json, show, table
from tfx_feeder.pipeline.cli.options import (
    all_option,
    newest_option,
    store_options,
    truncation_note,
)
from tfx_feeder.pipeline.metadata.describe import ArtifactSummary, state_label, summarize
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.lookup import find_artifact, find_run
from tfx_feeder.pipeline.metadata.models import MODEL
from tfx_feeder.pipeline.metadata.types import Artifact, Execution, Run


@dataclass(frozen=True, slots=True)
class TypeRow:
    """Summary of the artifacts of one type.

    Args:
        type_name: Name of the type, such as ``Model``.
        count: Number of artifacts.
        newest_id: Id of the newest artifact.
        newest_at: Registration time of the newest artifact; UTC.
    """

    type_name: str
    count: int
    newest_id: int
    newest_at: datetime


@dataclass(frozen=True, slots=True)
class ArtifactEvent:
    """An execution that produced or read an artifact.

    Args:
        execution_id: Id of the execution.
        node: Name of the node in the pipeline.
        run_id: Id of the run.
        state: State of the execution, such as ``COMPLETE`` or ``CACHED``.
        keys: Input or output keys of the artifact.
    """

    execution_id: int
    node: str
    run_id: str
    state: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ArtifactDetails:
    """An artifact with its producer and its consumers.

    Args:
        item: The artifact.
        maker: Execution that produced it; ``None`` if the store does not record it.
        users: Executions that read it, oldest first.
    """

    item: ArtifactSummary
    maker: ArtifactEvent | None
    users: tuple[ArtifactEvent, ...]


def count_types(lineage: Lineage) -> list[TypeRow]:
    """Returns a summary of each artifact type, sorted by name."""
    in_order = sorted(lineage.artifacts(), key=lambda artifact: (artifact.type_name, artifact.id))
    rows = []
    for type_name, group in groupby(in_order, key=lambda artifact: artifact.type_name):
        *_, newest = members = list(group)
        rows.append(TypeRow(type_name, len(members), newest.id, newest.created_at))
    return rows


def list_artifacts(
    artifacts: Sequence[Artifact], newest: int | None = None
) -> list[ArtifactSummary]:
    """Describes artifacts, newest first.

    Args:
        artifacts: Artifacts, oldest first.
        newest: Maximum number of artifacts; ``None`` for all.
    """
    return [summarize(artifact) for artifact in artifacts[::-1][:newest]]


def read_artifact(lineage: Lineage, artifact: Artifact) -> ArtifactDetails:
    """Returns an artifact with its producer and its consumers.

    Args:
        lineage: Lineage of the store.
        artifact: Artifact to describe.
    """
    maker = lineage.upstream([artifact.id], stop_at=(MODEL,)).producer(artifact.id)
    users = lineage.consumers([artifact.id]).consumers(artifact.id)
    return ArtifactDetails(
        item=summarize(artifact),
        maker=_event(maker, artifact, maker.outputs) if maker else None,
        users=tuple(_event(user, artifact, user.inputs) for user in users),
    )


def types_table(rows: Sequence[TypeRow]) -> RenderableType:
    """Returns a table of artifact types."""
    made = table("Artifacts", "type", "number", "newest", "made", "ago", right=("number", "newest"))
    for row in rows:
        name, made_at = escape(row.type_name), format_time(row.newest_at)
        made.add_row(name, f"{row.count:,}", str(row.newest_id), made_at, format_age(row.newest_at))
    return made


def artifacts_table(items: Sequence[ArtifactSummary], title: str) -> RenderableType:
    """Returns a table of artifacts.

    Args:
        items: Artifacts to list.
        title: Title of the table.
    """
    made = table(escape(title), "made", "artifact", right=("made",))
    for entry in items:
        made.add_row(
            f"{format_age(entry.created_at)} ago", f"{entry.label}\n[dim]{escape(entry.uri)}[/]"
        )
    # Folds paths instead of cutting them off, so they can be copied.
    made.columns[-1].overflow = "fold"
    return made


def artifact_lines(details: ArtifactDetails) -> Iterator[RenderableType]:
    """Yields an artifact as lines of markup and a table of its properties."""
    entry = details.item
    yield f"[bold]{entry.name}[/]  {escape(entry.uri)}{_missing_mark(entry)}"
    yield f"Made {format_time(entry.created_at)}, {format_age(entry.created_at)} ago{_state(entry)}"
    if details.maker:
        yield f"By {_event_text(details.maker)}"
    for use in details.users:
        yield f"Read by {_event_text(use)}: {state_label(use.state)}"
    made = table("Properties", "name", "value")
    for name, value in sorted(entry.properties.items()):
        made.add_row(escape(name), escape(str(value)))
    if entry.properties:
        yield made
    yield f"Inputs: tfx-feeder lineage {entry.id}"
    yield f"Descendants: tfx-feeder lineage {entry.id} --down"


@click.command()
@click.argument("what", metavar="[TYPE|ARTIFACT]", required=False)
@click.option(
    "--run",
    "run_name",
    metavar="RUN",
    help="Only artifacts that this run produced or took from the cache.",
)
@newest_option
@all_option
@store_options
def artifacts(
    lineage: Lineage,
    as_json: bool,
    what: str | None,
    run_name: str | None,
    newest: int,
    everything: bool,
) -> None:
    """List artifact types, list the artifacts of a TYPE, or show one ARTIFACT.

    TYPE is a type name such as Model or Examples; ARTIFACT is an id or a URI.
    """
    if what is None and run_name is None:
        rows = count_types(lineage)
        if as_json:
            print_json(rows)
        elif rows:
            show(types_table(rows), "Artifacts of a type: tfx-feeder artifacts Examples")
        else:
            show("The store has no artifact yet.")
        return
    if what is not None and run_name is None and not lineage.artifacts(what):
        details = read_artifact(lineage, find_artifact(lineage, what))
        if as_json:
            print_json(details)
        else:
            show(*artifact_lines(details))
        return
    title, found = _named(lineage, what, run_name)
    items = list_artifacts(found, None if everything else newest)
    if as_json:
        print_json(items)
    elif items:
        show(artifacts_table(items, title), *truncation_note(len(items), len(found), "artifacts"))
        show(f"Details: tfx-feeder artifacts {items[0].id}")
    else:
        show(f"{escape(title)}: none.")


def _named(
    lineage: Lineage, type_name: str | None, run_name: str | None
) -> tuple[str, list[Artifact]]:
    """Returns a title and the artifacts of a type, of a run, or of a type in a run."""
    if run_name is None:
        return f"Artifacts of type {type_name}", lineage.artifacts(type_name)
    run = find_run(lineage, run_name)
    made = _made(run)
    if type_name is None:
        return f"Artifacts of run {run.id}", made
    of_type = [artifact for artifact in made if artifact.type_name == type_name]
    return f"Artifacts of type {type_name} of run {run.id}", of_type


def _made(run: Run) -> list[Artifact]:
    """Returns the artifacts that a run produced or took from the cache, in order of creation."""
    groups = (group for execution in run.executions for group in execution.outputs.values())
    made = {artifact.id: artifact for group in groups for artifact in group}
    return [made[artifact_id] for artifact_id in sorted(made)]


def _event(
    execution: Execution, artifact: Artifact, ends: Mapping[str, Sequence[Artifact]]
) -> ArtifactEvent:
    keys = tuple(key for key, group in ends.items() if artifact in group)
    return ArtifactEvent(execution.id, execution.node, execution.run_id, execution.state, keys)


def _event_text(use: ArtifactEvent) -> str:
    return f"{escape(use.node)} as {escape(' and '.join(use.keys))}, run {escape(use.run_id)}"


def _missing_mark(entry: ArtifactSummary) -> str:
    return " [red]files missing[/]" if entry.files_missing else ""


def _state(entry: ArtifactSummary) -> str:
    return "" if entry.state in ("", "LIVE") else f"; {entry.state.lower().replace('_', ' ')}"
