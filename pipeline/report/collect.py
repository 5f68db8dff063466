"""Gathers what a report says about a run, from the store and from the files of its artifacts."""

from collections.abc import Mapping
from datetime import datetime, timezone

from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import (
    EVALUATION,
    MODEL,
    ModelVersion,
    read_models,
    to_model_versions,
)
from tfx_feeder.pipeline.metadata.types import Artifact, Run
from tfx_feeder.pipeline.report.collect_data import collect_data
from tfx_feeder.pipeline.report.facts import (
    EvaluationFacts,
    GatedSlice,
    RunFacts,
    ServedVersion,
    Unavailable,
    read_files,
)
from tfx_feeder.pipeline.report.reproduction import collect_reproduction
from tfx_feeder.schemas import training_history
from tfx_feeder.schemas.eval_config import ThresholdRule, read_thresholds, threshold_for
from tfx_feeder.schemas.evaluation import ALL_EXAMPLES, EvaluationResult, read_evaluation
from tfx_feeder.schemas.training_history import History

MOST_VERSIONS = 60
"""How far the versions over time go back, in models."""


def collect(lineage: Lineage, run: Run, store: str) -> RunFacts:
    """Gathers all that the report of a run says.

    Args:
        lineage: Of the store.
        run: With the artifacts of its executions.
        store: As the user names it; for commands.
    """
    model = _model(lineage, run)
    history = _history(run, model)
    evaluation = _evaluation(run)
    headline = evaluation.headline if isinstance(evaluation, EvaluationFacts) else None
    metric = headline.row.metric if headline else ""
    return RunFacts(
        run=run,
        model=model,
        history=history,
        evaluation=evaluation,
        data=collect_data(lineage, run),
        versions=_versions(lineage, run, model, metric),
        metric=metric,
        earlier_runs=_earlier_runs(lineage, run),
        reproduction=collect_reproduction(run, model, store),
        written=datetime.now(timezone.utc),
    )


def _model(lineage: Lineage, run: Run) -> ModelVersion | None:
    """The model that was judged, else the last one."""
    models = list(run.outputs(MODEL))
    judged = [
        artifact
        for execution in run.executions
        if any(a.type_name == EVALUATION for group in execution.outputs.values() for a in group)
        for artifact in execution.inputs.get("model", ())
    ]
    chosen = [a for a in models if a in judged] or models or judged
    return to_model_versions(lineage, chosen[-1:])[0] if chosen else None


def _history(run: Run, model: ModelVersion | None) -> History | Unavailable:
    if model is None:
        return Unavailable("This run made no model.")
    makers = [e.node for e in run.executions for g in e.outputs.values() if model.model in g]
    trainer = makers[0] if makers else "Its trainer"
    return read_files(
        model.history,
        training_history.read,
        absent=f"{trainer} keeps no record of the training. FeederTrainer does.",
    )


def _evaluation(run: Run) -> EvaluationFacts | Unavailable:
    artifact = next(run.outputs(EVALUATION), None)
    if artifact is None:
        return Unavailable("No model was evaluated in this run.")
    judgement = read_files(artifact, read_evaluation)
    if isinstance(judgement, Unavailable):
        return judgement
    rules = read_files(artifact, read_thresholds)
    slices = _gated(judgement, () if isinstance(rules, Unavailable) else rules)
    return EvaluationFacts(judgement, slices, artifact)


def _gated(
    judgement: EvaluationResult, rules: tuple[ThresholdRule, ...]
) -> Mapping[str, tuple[GatedSlice, ...]]:
    missed = {(cause.metric, cause.slice) for cause in judgement.causes}
    slices = {
        metric: tuple(
            GatedSlice(row, threshold_for(rules, metric, row.slice), (metric, row.slice) in missed)
            for row in judgement.slices(metric)
        )
        for metric in judgement.metrics
    }
    # What counts for the blessing comes first, the loss last.
    order = {name: (not any(r.gate for r in rows), name == "loss") for name, rows in slices.items()}
    return {metric: slices[metric] for metric in sorted(slices, key=order.__getitem__)}


def _versions(
    lineage: Lineage, run: Run, model: ModelVersion | None, metric: str
) -> tuple[ServedVersion, ...]:
    versions = [v for v in read_models(lineage, MOST_VERSIONS) if v.pipeline == run.pipeline]
    here = model.model.id if model else None
    return tuple(
        ServedVersion(version, _value(version.evaluation, metric), version.model.id == here)
        for version in reversed(versions)
    )


def _value(evaluation: Artifact | None, metric: str) -> float | None:
    judgement = read_files(evaluation, read_evaluation)
    if isinstance(judgement, Unavailable):
        return None
    rows = (row for row in judgement.slices(metric) if row.slice == ALL_EXAMPLES)
    return next((row.candidate for row in rows), None)


def _earlier_runs(lineage: Lineage, run: Run) -> Mapping[int, str]:
    """By artifact id: the run that made it, where it was another one."""
    used = {
        artifact.id: artifact
        for execution in run.executions
        for groups in (execution.inputs, execution.outputs)
        for group in groups.values()
        for artifact in group
    }
    graph = lineage.upstream(used, stop_at={artifact.type_name for artifact in used.values()})
    makers = {artifact_id: graph.producer(artifact_id) for artifact_id in used}
    return {i: m.run_id for i, m in makers.items() if m is not None and m.run_id != run.id}
