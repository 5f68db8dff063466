"""The runs of a store, one line each."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import click
from rich.console import RenderableType
from rich.markup import escape

from tfx_feeder.common.durations import format_age
from tfx_feeder.pipeline.cli.console import print_json, show, table
from tfx_feeder.pipeline.cli.listing import all_option, newest_option, truncation_note
from tfx_feeder.pipeline.cli.options import store_options
from tfx_feeder.pipeline.metadata.describe import elapsed, state
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import ModelVersion, read_models
from tfx_feeder.pipeline.metadata.types import CACHED, COMPLETE, FAILED, Run
from tfx_feeder.pipeline.metadata.verdicts import status_label


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in one line.

    Args:
        id: Its name in the store.
        pipeline: Name of the pipeline.
        began: When it was registered; UTC.
        seconds: From then to the last change of a state.
        state: The worst among its components; ``CACHED`` where nothing had to run.
        ran: How many components ran to their end.
        cached: How many took their outputs from an earlier run.
        failed: Names of the components that failed.
        models: Models that it trained.
    """

    id: str
    pipeline: str
    began: datetime
    seconds: float
    state: str
    ran: int
    cached: int
    failed: tuple[str, ...]
    models: tuple[ModelVersion, ...]


def list_runs(lineage: Lineage, newest: int | None = None) -> list[RunRow]:
    """Returns the runs, the newest first.

    Args:
        lineage: Of the store.
        newest: How many at most; ``None``: all.
    """
    trained: dict[str, list[ModelVersion]] = defaultdict(list)
    # A run trains one model as a rule; where runs train several, older ones stay without.
    for model in read_models(lineage, newest):
        trained[model.run_id].append(model)
    return [_row(run, trained[run.id]) for run in lineage.runs(newest)]


def runs_table(rows: Sequence[RunRow]) -> RenderableType:
    """Returns the runs as a table."""
    several = len({row.pipeline for row in rows}) > 1
    columns = ("run", *(["pipeline"] if several else []), "began", "took", "state", "model")
    made = table("Runs", *columns, right=("began", "took"))
    for row in rows:
        made.add_row(
            escape(row.id),
            *([escape(row.pipeline)] if several else []),
            f"{format_age(row.began)} ago",
            elapsed(row.state, row.seconds, row.began),
            _state(row),
            "\n".join(f"{model.model.id} {status_label(model)}" for model in row.models),
        )
    made.columns[0].no_wrap = True
    return made


@click.command()
@newest_option
@all_option
@store_options
def runs(lineage: Lineage, as_json: bool, newest: int, everything: bool) -> None:
    """List the runs of a store: when, how long, and what came of each."""
    rows = list_runs(lineage, None if everything else newest)
    if as_json:
        print_json(rows)
    elif rows:
        total = len(lineage.run_ids())
        show(runs_table(rows), *truncation_note(len(rows), total, "runs"), *_next_steps(rows[0]))
    else:
        show("The store has no run yet.")


def _row(run: Run, models: Sequence[ModelVersion]) -> RunRow:
    states = [execution.state for execution in run.executions]
    return RunRow(
        id=run.id,
        pipeline=run.pipeline,
        began=run.created,
        seconds=run.seconds,
        state=run.state,
        ran=states.count(COMPLETE),
        cached=states.count(CACHED),
        failed=tuple(e.node for e in run.executions if e.state == FAILED),
        models=tuple(models),
    )


def _state(row: RunRow) -> str:
    parts = [f"[red]{escape(name)} failed[/]" for name in row.failed] or [state(row.state)]
    if row.state != CACHED and row.cached:
        parts.append(f"{row.cached} cached")
    return ", ".join(parts)


def _next_steps(row: RunRow) -> Iterator[str]:
    yield "One of them: tfx-feeder run latest"
    if row.models:
        yield f"Its model: tfx-feeder why {row.models[0].model.id}"
