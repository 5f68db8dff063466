"""Collects the contents of a run's report from the store and from artifact files."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime, timezone

from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import (
    EVALUATION,
    GATE_REPORT,
    MODEL,
    SLICES,
    ModelVersion,
    read_models,
    to_model_versions,
)
from tfx_feeder.pipeline.metadata.slice_results import slice_results
from tfx_feeder.pipeline.metadata.types import Artifact, Run
from tfx_feeder.pipeline.report.collect_data import collect_data
from tfx_feeder.pipeline.report.facts import (
    EvaluationFacts,
    GatedSlice,
    RunFacts,
    ServedVersion,
    T,
    Unavailable,
    read_files,
)
from tfx_feeder.pipeline.report.reproduction import collect_reproduction
from tfx_feeder.schemas import gate_report, training_history
from tfx_feeder.schemas import slices as slices_format
from tfx_feeder.schemas.answer_plots import AnswerPlots, read_plots
from tfx_feeder.schemas.eval_config import (
    MetricThreshold,
    ThresholdRule,
    read_thresholds,
    threshold_for,
)
from tfx_feeder.schemas.evaluation import ALL_EXAMPLES, EvaluationResult, read_evaluation
from tfx_feeder.schemas.gate_report import REFUSED, GateReport, with_decision
from tfx_feeder.schemas.slices import Slices
from tfx_feeder.schemas.training_history import History

MAX_VERSIONS = 60
"""Maximum number of models in the version history."""


def collect(lineage: Lineage, run: Run, store: str) -> RunFacts:
    """Collects the contents of a run's report.

    Args:
        lineage: Lineage of the store.
        run: Run with the artifacts of its executions.
        store: Name of the store as the user gave it; part of the reproduction commands.
    """
    model = _model(lineage, run)
    history = _history(run, model)
    evaluation = _evaluation(run)
    primary = evaluation.primary if isinstance(evaluation, EvaluationFacts) else None
    metric = primary.row.metric if primary else ""
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
        collected_at=datetime.now(timezone.utc),
    )


def _model(lineage: Lineage, run: Run) -> ModelVersion | None:
    """Returns the evaluated model, or else the last one."""
    models = list(run.outputs(MODEL))
    evaluated = [
        artifact
        for execution in run.executions
        if execution.output_of_type(EVALUATION)
        for artifact in execution.inputs.get("model", ())
    ]
    selected = [a for a in models if a in evaluated] or models or evaluated
    return to_model_versions(lineage, selected[-1:])[0] if selected else None


def _history(run: Run, model: ModelVersion | None) -> History | Unavailable:
    if model is None:
        return Unavailable("This run produced no model.")
    producers = [e.node for e in run.executions if model.model in e.output_artifacts]
    trainer = producers[0] if producers else "The trainer"
    return read_files(
        model.history,
        training_history.read,
        absent=f"{trainer} records no training history; FeederTrainer does.",
    )


def _evaluation(run: Run) -> EvaluationFacts | Unavailable:
    artifact = next(run.outputs(EVALUATION), None)
    if artifact is None:
        return Unavailable("No model was evaluated in this run.")
    result = read_files(artifact, read_evaluation)
    if isinstance(result, Unavailable):
        return result
    report = _known(read_files(next(run.outputs(GATE_REPORT), None), gate_report.read))
    found = _known(read_files(next(run.outputs(SLICES), None), slices_format.read))
    if report:
        result = with_decision(result, report)
        slices = _judged(result, report, found)
    else:
        slices = _gated(result, _known(read_files(artifact, read_thresholds)) or ())
    # Metrics with thresholds come first, the loss last.
    order = {name: (not any(r.gate for r in rows), name == "loss") for name, rows in slices.items()}
    in_order = {metric: slices[metric] for metric in sorted(slices, key=order.__getitem__)}
    plots = _known(read_files(artifact, read_plots)) or AnswerPlots()
    return EvaluationFacts(result, in_order, artifact, report, found, plots)


def _known(read: T | Unavailable) -> T | None:
    return None if isinstance(read, Unavailable) else read


def _gated(
    result: EvaluationResult, rules: tuple[ThresholdRule, ...]
) -> Mapping[str, tuple[GatedSlice, ...]]:
    missed = {(cause.metric, cause.slice) for cause in result.causes}
    return {
        metric: tuple(
            GatedSlice(row, threshold_for(rules, metric, row.slice), (metric, row.slice) in missed)
            for row in result.slices(metric)
        )
        for metric in result.metrics
    }


def _judged(
    result: EvaluationResult, report: GateReport, found: Slices | None
) -> Mapping[str, tuple[GatedSlice, ...]]:
    """Returns all examples and then the slices, those that decided first."""
    results = slice_results(result, report, found)
    rows = {(row.metric, row.slice): row for row in result.rows}
    judged = {
        metric: [r for r in results if r.metric == metric and (metric, r.slice) in rows]
        for metric in result.metrics
    }
    thresholds = _thresholds(report)
    return {
        metric: tuple(
            GatedSlice(
                rows[metric, each.slice],
                thresholds.get((metric, each.slice)),
                each.verdict == REFUSED,
                each,
            )
            for each in sorted(judged[metric], key=lambda each: each.slice != ALL_EXAMPLES)
        )
        or tuple(GatedSlice(row, None, missed=False) for row in result.slices(metric))
        for metric in result.metrics
    }


def _thresholds(report: GateReport) -> Mapping[tuple[str, str], MetricThreshold]:
    """Returns the floors and margins of a gate by metric and slice."""
    thresholds: dict[tuple[str, str], MetricThreshold] = {}
    for line in report.lines:
        key = line.metric, line.slice
        lower = report.gate.get("metrics", {}).get(line.metric) == "lower"
        known = thresholds.get(key, MetricThreshold(lower_is_better=lower))
        if line.limit is None:
            continue
        if line.rule == "floor":
            limit = {"upper_bound" if lower else "lower_bound": line.limit}
        else:
            limit = {"change": line.limit if lower else 0.0 - line.limit}
        thresholds[key] = dataclasses.replace(known, **limit)
    return thresholds


def _versions(
    lineage: Lineage, run: Run, model: ModelVersion | None, metric: str
) -> tuple[ServedVersion, ...]:
    versions = [v for v in read_models(lineage, MAX_VERSIONS) if v.pipeline == run.pipeline]
    current = model.model.id if model else None
    return tuple(
        ServedVersion(version, _value(version.evaluation, metric), version.model.id == current)
        for version in reversed(versions)
    )


def _value(evaluation: Artifact | None, metric: str) -> float | None:
    result = read_files(evaluation, read_evaluation)
    if isinstance(result, Unavailable):
        return None
    rows = (row for row in result.slices(metric) if row.slice == ALL_EXAMPLES)
    return next((row.candidate for row in rows), None)


def _earlier_runs(lineage: Lineage, run: Run) -> Mapping[int, str]:
    """Returns the ids of the earlier runs that produced artifacts of a run, by artifact id."""
    used = {
        artifact.id: artifact
        for execution in run.executions
        for artifact in (*execution.input_artifacts, *execution.output_artifacts)
    }
    graph = lineage.upstream(used, stop_at={artifact.type_name for artifact in used.values()})
    producers = {artifact_id: graph.producer(artifact_id) for artifact_id in used}
    return {i: p.run_id for i, p in producers.items() if p is not None and p.run_id != run.id}
