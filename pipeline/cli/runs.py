"""The commands ``runs`` and ``run``."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

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
from tfx_feeder.pipeline.metadata.describe import (
    elapsed,
    error_message,
    state_label,
    status_details,
    status_label,
    summarize,
)
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.lookup import find_run
from tfx_feeder.pipeline.metadata.models import MODEL, ModelVersion, read_models, to_model_versions
from tfx_feeder.pipeline.metadata.types import (
    CACHED,
    COMPLETE,
    RUNNING,
    SUCCEEDED,
    Execution,
    Run,
)
from tfx_feeder.pipeline.runner.summary import components_table

RunWithModels = tuple[Run, Sequence[ModelVersion]]
"""A run, and the models that it trained."""


@click.command()
@newest_option
@all_option
@store_options
def runs(lineage: Lineage, as_json: bool, newest: int, everything: bool) -> None:
    """List the runs of a store with start, duration, state and models."""
    rows = list_runs(lineage, None if everything else newest)
    if as_json:
        print_json([_list_entry(run, models) for run, models in rows])
    elif rows:
        total = len(lineage.run_ids())
        show(runs_table(rows), *truncation_note(len(rows), total, "runs"))
        show("Details: tfx-feeder run latest")
        for model in rows[0][1][:1]:
            show(f"Its model: tfx-feeder why {model.model.id}")
    else:
        show("The store has no run yet.")


@click.command()
@click.argument("name", metavar="RUN")
@store_options
def run(lineage: Lineage, as_json: bool, name: str) -> None:
    """Show one run: components, durations, cached results and errors.

    RUN is a run id or the beginning of one, latest or previous.
    """
    found = find_run(lineage, name)
    models = run_models(lineage, found)
    if as_json:
        nodes = [_node_entry(execution) for execution in found.executions]
        print_json({**_run_entry(found), "nodes": nodes, "models": models})
    else:
        show(*run_lines(found, models))


def list_runs(lineage: Lineage, newest: int | None = None) -> list[RunWithModels]:
    """Returns the runs of a store, newest first, each with the models that it trained.

    Args:
        lineage: Lineage of the store.
        newest: Maximum number of runs; ``None`` for all.
    """
    trained: dict[str, list[ModelVersion]] = defaultdict(list)
    # A run usually trains one model. If runs train several, the oldest runs are listed without.
    for model in read_models(lineage, newest):
        trained[model.run_id].append(model)
    return [(run, trained[run.id]) for run in lineage.runs(newest)]


def runs_table(rows: Sequence[RunWithModels]) -> RenderableType:
    """Returns a table of runs."""
    several = len({run.pipeline for run, _ in rows}) > 1
    columns = ("run", *(["pipeline"] if several else []), "began", "took", "state", "model")
    drawn = table("Runs", *columns, right=("began", "took"))
    for run, models in rows:
        drawn.add_row(
            escape(run.id),
            *([escape(run.pipeline)] if several else []),
            f"{format_age(run.created_at)} ago",
            elapsed(run.state, run.seconds, run.created_at),
            _state(run),
            "\n".join(f"{model.model.id} {status_label(model)}" for model in models),
        )
    drawn.columns[0].no_wrap = True
    return drawn


def run_models(lineage: Lineage, run: Run) -> list[ModelVersion]:
    """Returns the models that a run trained, or took from the cache.

    Args:
        lineage: Lineage of the store.
        run: Run with the artifacts of its executions.
    """
    models = {
        artifact.id: artifact
        for execution in run.executions
        if execution.state in SUCCEEDED
        for group in execution.outputs.values()
        for artifact in group
        if artifact.type_name == MODEL
    }
    return to_model_versions(lineage, list(models.values()))


def run_lines(run: Run, models: Sequence[ModelVersion]) -> Iterator[RenderableType]:
    """Yields a run as lines of markup and a table.

    Args:
        run: Run with the artifacts of its executions.
        models: Models that it trained, or took from the cache.
    """
    yield f"[bold]Run {escape(run.id)}[/] of pipeline {escape(run.pipeline)}"
    took = elapsed(run.state, run.seconds, run.created_at)
    began = f"{format_time(run.created_at)}, {format_age(run.created_at)} ago"
    yield f"{state_label(run.state)}; began {began}{f'; took {took}' if took else ''}"
    yield components_table(run.executions)
    for execution in run.executions:
        if message := error_message(execution):
            yield f"[red]{escape(execution.node)} failed:[/] {escape(message)}"
    for model in models:
        earlier = "" if model.run_id == run.id else f", of run {escape(model.run_id)}"
        yield f"Model {model.model.id}{earlier}: {status_details(model)}"
    if models:
        yield f"Details: tfx-feeder why {models[-1].model.id}"


def _run_entry(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "pipeline": run.pipeline,
        "began": run.created_at,
        "seconds": run.seconds,
        "state": run.state,
    }


def _list_entry(run: Run, models: Sequence[ModelVersion]) -> dict[str, Any]:
    states = [execution.state for execution in run.executions]
    return {
        **_run_entry(run),
        "ran": states.count(COMPLETE),
        "cached": states.count(CACHED),
        "failed": _failed(run),
        "models": models,
    }


def _node_entry(execution: Execution) -> dict[str, Any]:
    return {
        "node": execution.node,
        "execution_id": execution.id,
        "type_name": execution.type_name,
        "state": execution.state,
        "began": execution.created_at,
        "seconds": execution.seconds,
        "outputs": {key: list(map(summarize, group)) for key, group in execution.outputs.items()},
        "error": error_message(execution),
    }


def _failed(run: Run) -> list[str]:
    return [execution.node for execution in run.failed]


def _state(run: Run) -> str:
    parts = [f"[red]{escape(name)} failed[/]" for name in _failed(run)] or [state_label(run.state)]
    if run.state == RUNNING:
        # The store does not record whether the process is alive.
        parts.append(f"last change {format_age(run.changed_at)} ago")
    cached = sum(execution.state == CACHED for execution in run.executions)
    if run.state != CACHED and cached:
        parts.append(f"{cached} cached")
    return ", ".join(parts)
