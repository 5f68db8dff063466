"""Gathers the situation: from the folder with the data, and from what ML Metadata knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path

from tfx_feeder.common.errors import DataError
from tfx_feeder.pipeline.metadata.describe import is_local
from tfx_feeder.pipeline.metadata.drift import distance
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import (
    EVALUATION,
    EXAMPLES,
    HISTORY,
    MODEL,
    served_ids,
)
from tfx_feeder.pipeline.metadata.types import CACHED, COMPLETE, RUNNING, Artifact, Execution
from tfx_feeder.pipeline.retraining.snapshot import FeatureDrift, LiveModel, PastTraining, Snapshot
from tfx_feeder.pipeline.run_plan import starts_warm
from tfx_feeder.pipeline.runner.quiet_imports import quiet_imports
from tfx_feeder.pipeline.span_folders import pipeline_name, spans_in, stable_spans
from tfx_feeder.schemas.evaluation import ALL_EXAMPLES, read_evaluation
from tfx_feeder.schemas.statistics import read_statistics

_STATISTICS = "ExampleStatistics"
_TRAINERS = ("FeederTrainer", "Trainer")


@dataclass(frozen=True, slots=True)
class ObservedData:
    """The data as it is now.

    Args:
        pipeline: Name of the pipeline that trains on it.
        spans: Those that are complete, in order.
        has_spans: Whether it comes in spans.
    """

    pipeline: str
    spans: tuple[int, ...] = ()
    has_spans: bool = True


def look_at_data(name_or_path: str, root: Path, settled_before: float) -> ObservedData:
    """Looks which spans are there.

    Args:
        name_or_path: As ``open_data_set`` takes it.
        root: Folder of everything that the pipeline writes.
        settled_before: Seconds since the epoch; a span that changed later is left for next time.

    Raises:
        ConfigError: There is no such data.
        DataError: It cannot be used.
    """
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        folder = folder.resolve()
        spans = stable_spans(folder, settled_before)
        # An empty folder is one in which spans are to arrive.
        return ObservedData(
            pipeline_name(folder), spans, bool(spans_in(folder)) or not any(folder.iterdir())
        )
    # They need TensorFlow, for which a folder with spans need not wait.
    quiet_imports("tfx_feeder.pipeline.datasets")
    data_sets = import_module("tfx_feeder.pipeline.datasets")
    data = data_sets.open_data_set(name_or_path, root / "data")
    return ObservedData(data.name, data.spans, bool(data.spans))


def observe(
    lineage: Lineage | None,
    data: ObservedData,
    now: datetime,
    *,
    busy: str = "",
    measured: Mapping[str, float] | None = None,
) -> Snapshot:
    """Gathers what a decision depends on.

    Args:
        lineage: Limited to the pipeline; ``None`` where nothing has run yet.
        data: The data.
        now: The time; UTC.
        busy: What is running, in words.
        measured: Metrics of the live model that something else has measured; they go before those
            of its evaluations.
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
        drift=_drift(lineage, live, statistics) if live else (),
        busy=busy,
    )


def unfinished_run(lineage: Lineage, since: datetime) -> str:
    """Returns that the newest run is still running, in words; empty where it is not.

    Args:
        lineage: Limited to the pipeline.
        since: What did not change after that was killed.
    """
    for run in lineage.runs(newest=1):
        if any(e.state == RUNNING and e.changed > since for e in run.executions):
            return f"run {run.id} is running"
    return ""


def _trainings(lineage: Lineage) -> tuple[PastTraining, ...]:
    origins = lineage.upstream((m.id for m in lineage.artifacts(MODEL)), stop_at=(MODEL,))
    runs = lineage.runs()[::-1]
    tried = [e for run in runs for e in run.executions if _is_trainer(e)]
    # Those that made a model come with what they read and made.
    return tuple(_training(origins.executions.get(execution.id, execution)) for execution in tried)


def _is_trainer(execution: Execution) -> bool:
    return execution.type_name.rpartition(".")[2] in _TRAINERS


def _training(execution: Execution) -> PastTraining:
    if execution.state == CACHED:
        return PastTraining(execution.run_id, execution.began, 0.0, warm_start=False, done=False)
    made = (artifact for group in execution.outputs.values() for artifact in group)
    history = next((artifact for artifact in made if artifact.type_name == HISTORY), None)
    seconds = history.properties.get("seconds") if history else None
    return PastTraining(
        run_id=execution.run_id,
        began=execution.began,
        seconds=execution.seconds if seconds is None else float(seconds),
        warm_start=starts_warm(execution),
        done=execution.state == COMPLETE,
    )


def _live_artifact(lineage: Lineage) -> Artifact | None:
    """Returns the model that was pushed last among those that are served."""
    pushed = max(served_ids(lineage), default=None)
    maker = lineage.upstream([pushed], stop_at=(MODEL,)).maker(pushed) if pushed else None
    return next(iter(maker.inputs.get("model", ())), None) if maker else None


def _live(lineage: Lineage, model: Artifact, measured: Mapping[str, float]) -> LiveModel:
    judged = [
        execution
        for execution in lineage.users([model.id]).executions.values()
        if execution.state == COMPLETE and _evaluation(execution) is not None
    ]
    judged.sort(key=lambda execution: execution.id)
    own = [e for e in judged if model in e.inputs.get("model", ())]
    return LiveModel(
        id=model.id,
        trained=model.created,
        metrics={**(_metrics(judged[-1], model) if judged else {}), **measured},
        metrics_then=_metrics(own[0], model) if own else {},
    )


def _has_span(examples: Artifact) -> bool:
    return "span" in examples.properties


def _evaluation(execution: Execution) -> Artifact | None:
    made = (artifact for group in execution.outputs.values() for artifact in group)
    return next((artifact for artifact in made if artifact.type_name == EVALUATION), None)


def _metrics(evaluator: Execution, model: Artifact) -> dict[str, float]:
    """Returns what an evaluation says of a model, the candidate or the baseline."""
    evaluation = _evaluation(evaluator)
    if evaluation is None or not is_local(evaluation.uri):
        return {}
    try:
        rows = read_evaluation(evaluation.path).rows
    except DataError:  # Its files are gone; a decision can do without.
        return {}
    candidate = model in evaluator.inputs.get("model", ())
    values = {
        row.metric: row.candidate if candidate else row.baseline
        for row in rows
        if row.slice == ALL_EXAMPLES
    }
    return {name: value for name, value in values.items() if value is not None}


def _statistics(lineage: Lineage) -> list[tuple[Artifact, Artifact]]:
    """Returns the statistics of Examples as they were read, each with these, the oldest first."""
    statistics = lineage.artifacts(_STATISTICS)
    makers = lineage.upstream((a.id for a in statistics), stop_at=(EXAMPLES,))
    return [
        (artifact, examples)
        for artifact in statistics
        # Transform makes statistics too; they are about something else.
        if (maker := makers.maker(artifact.id)) and maker.type_name.endswith("StatisticsGen")
        for examples in maker.inputs.get("examples", ())
    ]


def _drift(
    lineage: Lineage, live: Artifact, statistics: Sequence[tuple[Artifact, Artifact]]
) -> tuple[FeatureDrift, ...]:
    """Compares the newest statistics with those of what the live model was trained on."""
    known = lineage.upstream([live.id], stop_at=(MODEL,)).artifacts
    trained_on = [artifact for artifact, examples in statistics if examples.id in known]
    newest = statistics[-1][0] if statistics else None
    if newest is None or not trained_on or newest.id <= trained_on[-1].id:
        return ()
    try:
        before, after = (read_statistics(a.path)[0] for a in (trained_on[-1], newest))
    except DataError:  # Their files are gone.
        return ()
    distances = {f.name: distance(before.feature(f.name), f) for f in after.features}
    return tuple(
        FeatureDrift(name, found.measure, found.value)
        for name, found in distances.items()
        if found is not None
    )
