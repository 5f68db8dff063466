"""The models of a store, one line each: what they were trained on, and what became of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click
from rich.console import RenderableType
from rich.markup import escape

from tfx_feeder.common.durations import format_age
from tfx_feeder.common.errors import DataError
from tfx_feeder.pipeline.cli.console import print_json, show, table
from tfx_feeder.pipeline.cli.listing import all_option, newest_option, truncation_note
from tfx_feeder.pipeline.cli.options import store_options
from tfx_feeder.pipeline.metadata.describe import files_gone
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import MODEL, ModelVersion, read_models
from tfx_feeder.pipeline.metadata.verdicts import blessed, judgement, primary_metric, status_label
from tfx_feeder.schemas.evaluation import SliceRow


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model in one line.

    Args:
        version: The model and what became of it.
        metric: The first metric on all examples; ``None`` where no evaluation can be read.
        reasons: Why it was not blessed; what keeps its evaluation from being read.
        gone: Whether the files of the model are known not to be there.
    """

    version: ModelVersion
    metric: SliceRow | None
    reasons: tuple[str, ...]
    gone: bool


def list_models(lineage: Lineage, newest: int | None = None) -> list[ModelRow]:
    """Returns the models, the newest first.

    Args:
        lineage: Of the store.
        newest: How many at most; ``None``: all.
    """
    return [_row(model) for model in read_models(lineage, newest)]


def models_table(rows: Sequence[ModelRow]) -> RenderableType:
    """Returns the models as a table."""
    several = len({row.version.pipeline for row in rows}) > 1
    columns = ("model", *(["pipeline"] if several else []), "trained", "span", "metric", "blessed")
    made = table("Models", *columns, "version", "pushed", right=("model", "trained", "pushed"))
    for row in rows:
        model = row.version
        pushed = model.pushes[-1] if model.pushes else None
        made.add_row(
            f"{model.model.id}{' [red]files gone[/]' if row.gone else ''}",
            *([escape(model.pipeline)] if several else []),
            f"{format_age(model.created)} ago",
            ", ".join(map(str, model.spans)),
            f"{escape(row.metric.metric)} {row.metric.candidate:.4f}" if row.metric else "",
            blessed(model),
            f"{escape(pushed.version)}{_standing(model)}" if pushed else "",
            f"{format_age(pushed.at)} ago" if pushed else "",
        )
    return made


@click.command()
@newest_option
@all_option
@store_options
def models(lineage: Lineage, as_json: bool, newest: int, everything: bool) -> None:
    """List the models of a store: trained on what, blessed or not, pushed, live."""
    rows = list_models(lineage, None if everything else newest)
    if as_json:
        print_json(rows)
    elif rows:
        total = len(lineage.artifacts(MODEL))
        reasons = [
            f"Model {row.version.model.id}: {escape(reason)}"
            for row in rows
            for reason in row.reasons
        ]
        show(models_table(rows), *reasons, *_live_lines(rows))
        show(*truncation_note(len(rows), total, "models"))
        show(f"One of them: tfx-feeder why {rows[0].version.model.id}")
    else:
        show("The store has no model yet.")


def _row(model: ModelVersion) -> ModelRow:
    reasons: list[str] = []
    metric = None
    if model.evaluation is not None:
        try:
            judged = judgement(model)
        except DataError as error:
            reasons.append(str(error))
        else:
            metric = primary_metric(judged)
            reasons += [f"not blessed: {cause}" for cause in judged.causes]
    return ModelRow(model, metric, tuple(reasons), files_gone(model.model))


def _live_lines(rows: Sequence[ModelRow]) -> Iterator[str]:
    for version in (row.version for row in rows if row.version.live):
        push = version.pushes[-1]
        yield f"Live in {escape(push.place)}: {escape(push.version)}, model {version.model.id}"


def _standing(model: ModelVersion) -> str:
    return f" {status_label(model)}" if model.live or model.withdrawn else ""
