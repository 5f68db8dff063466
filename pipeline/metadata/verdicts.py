"""What became of a model, in words."""

from rich.markup import escape

from tfx_feeder.common.errors import DataError
from tfx_feeder.pipeline.metadata.describe import is_local
from tfx_feeder.pipeline.metadata.models import ModelVersion
from tfx_feeder.schemas.evaluation import ALL_EXAMPLES, EvaluationResult, SliceRow, read_evaluation

_BLESSED = {True: "[green]blessed[/]", False: "[red]not blessed[/]", None: "not evaluated"}


def blessed(model: ModelVersion) -> str:
    """Returns whether a model was blessed; markup."""
    return _BLESSED[model.blessed]


def verdict(model: ModelVersion) -> str:
    """Returns whether a model was blessed, pushed, and is live; markup."""
    parts = [blessed(model)]
    if model.pushes:
        parts.append(f"pushed as {escape(model.pushes[-1].version)}")
    if model.live:
        parts.append("[bold]live[/]")
    if model.withdrawn:
        parts.append("[yellow]withdrawn[/]")
    return ", ".join(parts)


def status_label(model: ModelVersion) -> str:
    """Returns how far a model got, in one word or two; markup."""
    if model.withdrawn:
        return "[yellow]withdrawn[/]"
    if model.live:
        return "[bold green]live[/]"
    return "[green]pushed[/]" if model.pushes else blessed(model)


def judgement(model: ModelVersion) -> EvaluationResult:
    """Reads the evaluation of a model.

    Raises:
        DataError: There is none, or its files cannot be read.
    """
    evaluation = model.evaluation
    if evaluation is None:
        raise DataError(f"Model {model.model.id} has no evaluation.")
    if not is_local(evaluation.uri):
        raise DataError(f"The evaluation lies elsewhere: {evaluation.uri}")
    return read_evaluation(evaluation.path)


def primary_metric(judged: EvaluationResult) -> SliceRow | None:
    """Returns the first metric on all examples, the loss only where there is no other."""
    rows = [row for row in judged.rows if row.slice == ALL_EXAMPLES]
    return next((row for row in rows if row.metric != "loss"), next(iter(rows), None))
