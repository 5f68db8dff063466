"""One run: its components, what each made, how long it took, and why one failed."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import click
from rich.console import RenderableType
from rich.markup import escape

from tfx_feeder.common.durations import format_age, format_time
from tfx_feeder.pipeline.cli.console import print_json, show, table
from tfx_feeder.pipeline.cli.options import store_options
from tfx_feeder.pipeline.metadata.describe import Item, elapsed, error, item, state
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.lookup import find_run
from tfx_feeder.pipeline.metadata.models import MODEL, ModelVersion, describe
from tfx_feeder.pipeline.metadata.types import SUCCEEDED, Execution, Run
from tfx_feeder.pipeline.metadata.verdicts import verdict


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One component of a run.

    Args:
        node: Its name in the pipeline.
        execution_id: In the store.
        type_name: Of the component.
        state: ``COMPLETE``, ``CACHED``, ``FAILED``, ``RUNNING`` or ``CANCELED``.
        began: When it was registered; UTC.
        seconds: From then to the last change of its state.
        outputs: What it made or took from an earlier run, by output key.
        error: What is known about why it failed; empty where it did not.
    """

    node: str
    execution_id: int
    type_name: str
    state: str
    began: datetime
    seconds: float
    outputs: dict[str, tuple[Item, ...]]
    error: str


@dataclass(frozen=True, slots=True)
class RunDetails:
    """A run and its components.

    Args:
        id: Its name in the store.
        pipeline: Name of the pipeline.
        began: When it was registered; UTC.
        seconds: From then to the last change of a state.
        state: The worst among its components.
        nodes: In the order in which they began.
        models: Models that it trained, or took from an earlier run.
    """

    id: str
    pipeline: str
    began: datetime
    seconds: float
    state: str
    nodes: tuple[NodeRow, ...]
    models: tuple[ModelVersion, ...]


def read_run(lineage: Lineage, run: Run) -> RunDetails:
    """Returns what there is to say about a run.

    Args:
        lineage: Of the store.
        run: With the artifacts of its executions.
    """
    made = {
        artifact.id: artifact
        for execution in run.executions
        if execution.state in SUCCEEDED
        for group in execution.outputs.values()
        for artifact in group
        if artifact.type_name == MODEL
    }
    return RunDetails(
        id=run.id,
        pipeline=run.pipeline,
        began=run.created,
        seconds=run.seconds,
        state=run.state,
        nodes=tuple(map(_node, run.executions)),
        models=tuple(describe(lineage, list(made.values()))),
    )


def run_lines(details: RunDetails) -> Iterator[RenderableType]:
    """Yields a run as tables and lines of markup."""
    yield f"[bold]Run {escape(details.id)}[/] of pipeline {escape(details.pipeline)}"
    took = elapsed(details.state, details.seconds, details.began)
    began = f"{format_time(details.began)}, {format_age(details.began)} ago"
    yield f"{state(details.state)}; began {began}{f'; took {took}' if took else ''}"
    made = table("", "component", "state", "took", "made", right=("took",))
    for node in details.nodes:
        items = [each.label for group in node.outputs.values() for each in group]
        took = elapsed(node.state, node.seconds, node.began)
        made.add_row(escape(node.node), state(node.state), took, "\n".join(items))
    yield made
    for node in details.nodes:
        if node.error:
            yield f"[red]{escape(node.node)} failed:[/] {escape(node.error)}"
    for model in details.models:
        earlier = "" if model.run_id == details.id else f", of run {escape(model.run_id)}"
        yield f"Model {model.model.id}{earlier}: {verdict(model)}"
    if details.models:
        yield f"More: tfx-feeder why {details.models[-1].model.id}"


@click.command()
@click.argument("name", metavar="RUN")
@store_options
def run(lineage: Lineage, as_json: bool, name: str) -> None:
    """Show one run: its components, times, what came from the cache, and errors.

    RUN is the id of a run or the beginning of it, latest or previous.
    """
    details = read_run(lineage, find_run(lineage, name))
    if as_json:
        print_json(details)
    else:
        show(*run_lines(details))


def _node(execution: Execution) -> NodeRow:
    return NodeRow(
        node=execution.node,
        execution_id=execution.id,
        type_name=execution.type_name,
        state=execution.state,
        began=execution.began,
        seconds=execution.seconds,
        outputs={key: tuple(map(item, group)) for key, group in execution.outputs.items()},
        error=error(execution),
    )
