"""Takes a snapshot for a decision, from the data folder and from ML Metadata."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path

from tfx_feeder.common.errors import DataError
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import (
    EVALUATION,
    EXAMPLES,
    HISTORY,
    MODEL,
    served_ids,
)
from tfx_feeder.pipeline.metadata.types import CACHED, COMPLETE, RUNNING, Artifact, Execution
from tfx_feeder.pipeline.retraining.snapshot import LiveModel, NewerData, PastTraining, Snapshot
from tfx_feeder.pipeline.run_plan import starts_warm
from tfx_feeder.pipeline.runner.quiet_imports import quiet_imports
from tfx_feeder.pipeline.span_folders import (
    BUILT_IN_NAMES,
    pipeline_name,
    spans_in,
    stable_spans,
)
from tfx_feeder.schemas.evaluation import ALL_EXAMPLES, read_evaluation
from tfx_feeder.schemas.statistics import read_statistics

_STATISTICS = "ExampleStatistics"
_TRAINERS = ("FeederTrainer", "Trainer")


@dataclass(frozen=True, slots=True)
class ObservedData:
    """Current state of the data.

    Args:
        pipeline: Name of the pipeline that trains on the data.
        spans: Complete spans, in order.
        has_spans: True if the data comes in spans.
    """

    pipeline: str
    spans: tuple[int, ...] = ()
    has_spans: bool = True


def observe_data(name_or_path: str, root: Path, unchanged_since: float) -> ObservedData:
    """Finds the complete spans.

    Args:
        name_or_path: Name of a built-in data set or path of a folder, as for ``open_data_set``.
        root: Root folder of the pipeline's output.
        unchanged_since: Seconds since the epoch; spans that changed later are still incomplete.

    Raises:
        ConfigError: The data does not exist.
        DataError: The data is invalid.
    """
    folder = Path(os.path.expanduser(name_or_path))
    if name_or_path not in BUILT_IN_NAMES and folder.is_dir():
        folder = folder.resolve()
        spans = stable_spans(folder, unchanged_since)
        # In an empty folder, spans are expected to arrive.
        name = pipeline_name(folder, root / "data")
        return ObservedData(name, spans, bool(spans_in(folder)) or not any(folder.iterdir()))
    # Built-in data sets need TensorFlow; folders with spans do not have to wait for its import.
    quiet_imports("tfx_feeder.pipeline.datasets")
    data_sets = import_module("tfx_feeder.pipeline.datasets")
    data = data_sets.open_data_set(name_or_path, root / "data")
    return ObservedData(data.name, data.spans, bool(data.spans))


def take_snapshot(
    lineage: Lineage | None,
    data: ObservedData,
    now: datetime,
    *,
    busy: str = "",
    measured: Mapping[str, float] | None = None,
) -> Snapshot:
    """Collects everything that a decision depends on.

    Args:
        lineage: Lineage limited to the pipeline; ``None`` before the first run.
        data: Current state of the data.
        now: Current time (UTC).
        busy: Description of the active run; empty if there is none.
        measured: Metrics of the live model from a monitor, which override those of its
            evaluations.
    """
    if lineage is None:
        return Snapshot(now, data.spans, data.has_spans, busy=busy)
    live, statistics = _live_artifact(lineage), _statistics(lineage)
    return Snapshot(
        now=now,
        spans=data.spans,
        has_spans=data.has_spans,
        done=frozenset(lineage.spans_done()) if data.has_spans else frozenset(),
        trainings=_trainings(lineage),
        live=_live(lineage, live, measured or {}) if live else None,
        measured=frozenset(int(e.properties["span"]) for _, e in statistics if _has_span(e)),
        newer=_newer_data(lineage, live, statistics) if live else None,
        busy=busy,
    )


def unfinished_run(lineage: Lineage, since: datetime) -> str:
    """Returns a description of the newest run if it is still running, else an empty string.

    Args:
        lineage: Lineage limited to the pipeline.
        since: Time of the last change before which an execution counts as killed.
    """
    for run in lineage.runs(newest=1):
        if any(e.state == RUNNING and e.updated_at > since for e in run.executions):
            return f"run {run.id} is running"
    return ""


def _trainings(lineage: Lineage) -> tuple[PastTraining, ...]:
    origins = lineage.upstream((m.id for m in lineage.artifacts(MODEL)), stop_at=(MODEL,))
    runs = lineage.runs()[::-1]
    tried = [e for run in runs for e in run.executions if _is_trainer(e)]
    # Trainers that produced a model come with their inputs and outputs.
    return tuple(_training(origins.executions.get(execution.id, execution)) for execution in tried)


def _is_trainer(execution: Execution) -> bool:
    return execution.type_name.rpartition(".")[2] in _TRAINERS


def _training(execution: Execution) -> PastTraining:
    if execution.state == CACHED:
        return PastTraining(
            execution.run_id,
            execution.created_at,
            0.0,
            warm_start=False,
            done=False,
            cached=True,
        )
    made = (artifact for group in execution.outputs.values() for artifact in group)
    history = next((artifact for artifact in made if artifact.type_name == HISTORY), None)
    seconds = history.properties.get("seconds") if history else None
    return PastTraining(
        run_id=execution.run_id,
        began=execution.created_at,
        seconds=execution.seconds if seconds is None else float(seconds),
        warm_start=starts_warm(execution),
        done=execution.state == COMPLETE,
    )


def _live_artifact(lineage: Lineage) -> Artifact | None:
    """Returns the most recently pushed of the served models."""
    pushed = max(served_ids(lineage), default=None)
    maker = lineage.upstream([pushed], stop_at=(MODEL,)).producer(pushed) if pushed else None
    return next(iter(maker.inputs.get("model", ())), None) if maker else None


def _live(lineage: Lineage, model: Artifact, measured: Mapping[str, float]) -> LiveModel:
    evaluators = [
        execution
        for execution in lineage.consumers([model.id]).executions.values()
        if execution.state == COMPLETE and _evaluation(execution) is not None
    ]
    evaluators.sort(key=lambda execution: execution.id)
    own = [e for e in evaluators if model in e.inputs.get("model", ())]
    return LiveModel(
        id=model.id,
        trained=model.created_at,
        metrics={**(_metrics(evaluators[-1], model) if evaluators else {}), **measured},
        initial_metrics=_metrics(own[0], model) if own else {},
    )


def _has_span(examples: Artifact) -> bool:
    return "span" in examples.properties


def _evaluation(execution: Execution) -> Artifact | None:
    made = (artifact for group in execution.outputs.values() for artifact in group)
    return next((artifact for artifact in made if artifact.type_name == EVALUATION), None)


def _metrics(evaluator: Execution, model: Artifact) -> dict[str, float]:
    """Returns the metrics of a model, the candidate or the baseline of an evaluation."""
    evaluation = _evaluation(evaluator)
    if evaluation is None or not evaluation.is_local:
        return {}
    try:
        rows = read_evaluation(evaluation.path).rows
    except DataError:  # The files were deleted; a decision does not require them.
        return {}
    candidate = model in evaluator.inputs.get("model", ())
    values = {
        row.metric: row.candidate if candidate else row.baseline
        for row in rows
        if row.slice == ALL_EXAMPLES
    }
    return {name: value for name, value in values.items() if value is not None}


def _statistics(lineage: Lineage) -> list[tuple[Artifact, Artifact]]:
    """Returns the statistics of raw Examples, each with its Examples, oldest first."""
    statistics = lineage.artifacts(_STATISTICS)
    makers = lineage.upstream((a.id for a in statistics), stop_at=(EXAMPLES,))
    return [
        (artifact, examples)
        for artifact in statistics
        # Transform outputs statistics as well, of transformed data.
        if (maker := makers.producer(artifact.id)) and maker.type_name.endswith("StatisticsGen")
        for examples in maker.inputs.get("examples", ())
    ]


def _newer_data(
    lineage: Lineage, live: Artifact, statistics: Sequence[tuple[Artifact, Artifact]]
) -> NewerData | None:
    """Returns the newest statistics and those of the live model's training data."""
    known = lineage.upstream([live.id], stop_at=(MODEL,)).artifacts
    trained_on = [artifact for artifact, examples in statistics if examples.id in known]
    newest = statistics[-1][0] if statistics else None
    if newest is None or not trained_on or newest.id <= trained_on[-1].id:
        return None
    try:
        current, baseline = (read_statistics(a.path)[0] for a in (newest, trained_on[-1]))
    except DataError:  # The files were deleted.
        return None
    return NewerData(current, baseline)
