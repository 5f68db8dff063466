"""Results of a model on each slice: what the Evaluator measured, and what EvalGate decided."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tfx_feeder.common.errors import DataError
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import DRIFT_REPORT, MODEL, SLICES, ModelVersion
from tfx_feeder.pipeline.metadata.types import Execution
from tfx_feeder.schemas import drift_report, gate_report
from tfx_feeder.schemas import slices as slices_format
from tfx_feeder.schemas.drift_report import DriftReport
from tfx_feeder.schemas.evaluation import ALL_EXAMPLES, EvaluationResult
from tfx_feeder.schemas.gate_report import REFUSED, GateLine, GateReport, SliceComparison
from tfx_feeder.schemas.slices import Evidence, Slices

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SliceResult:
    """Metric on a slice with the verdict of the gate.

    Args:
        slice: Name of the slice.
        metric: Name of the metric.
        origin: Origin of the slice, such as ``declared``; empty if unknown.
        examples: Number of examples; ``None`` if they were not counted.
        candidate: Value of the candidate.
        baseline: Value of the baseline; ``None`` without one.
        difference: Candidate minus baseline.
        low: Lower bound of the 95 % confidence interval of the difference.
        high: Upper bound.
        candidate_low: Lower bound of the 95 % confidence interval of the candidate.
        candidate_high: Upper bound.
        thresholds: Thresholds of the rules that apply, as they were declared.
        verdict: Verdict that weighs most; empty if no rule applies.
        decides: True if the model is not blessed because of this slice.
        reason: Reason for the verdict, in one line.
        evidence: Reason for the slice, if nobody declared it.
    """

    slice: str
    metric: str
    origin: str
    examples: int | None
    candidate: float | None
    baseline: float | None
    difference: float | None
    low: float | None
    high: float | None
    candidate_low: float | None
    candidate_high: float | None
    thresholds: tuple[str, ...] = ()
    verdict: str = ""
    decides: bool = False
    reason: str = ""
    evidence: Evidence | None = None


def slice_results(
    evaluation: EvaluationResult, report: GateReport | None, slices: Slices | None
) -> tuple[SliceResult, ...]:
    """Returns the results by slice and metric, those that decided first.

    They are followed by all examples, and the other slices in the order of the gate's lines.

    Args:
        evaluation: Result of the Evaluator.
        report: Report of EvalGate; ``None`` if the Evaluator decided.
        slices: Slices of SliceGen; ``None`` without it.
    """
    found = _judged(report, slices) if report else _measured(evaluation, slices)
    in_order = sorted(
        enumerate(found),
        key=lambda pair: (not pair[1].decides, pair[1].slice != ALL_EXAMPLES, pair[0]),
    )
    return tuple(result for _, result in in_order)


def slices_of(lineage: Lineage, model: ModelVersion) -> Slices | None:
    """Reads the slices on which a model was evaluated.

    Args:
        lineage: Lineage of the store.
        model: The model.

    Returns:
        The slices; ``None`` if they are unknown, or if their files are missing.
    """
    return _read(_slice_gen(lineage, model), SLICES, slices_format.read)


def drift_of(lineage: Lineage, model: ModelVersion) -> tuple[DriftReport, ...]:
    """Reads how the data on which a model was evaluated differ from those of its baseline.

    Args:
        lineage: Lineage of the store.
        model: The model.

    Returns:
        The comparisons; none if they are unknown, or if their files are missing.
    """
    return _read(_slice_gen(lineage, model), DRIFT_REPORT, drift_report.read) or ()


def gate_report_of(model: ModelVersion) -> GateReport | None:
    """Reads the report of EvalGate about a model; ``None`` if the Evaluator decided.

    Raises:
        DataError: The report is on another machine, missing or damaged.
    """
    artifact = model.gate_report
    if artifact is None:
        return None
    if not artifact.is_local:
        raise DataError(f"The gate report is on another machine: {artifact.uri}")
    return gate_report.read(artifact.path)


def _slice_gen(lineage: Lineage, model: ModelVersion) -> Execution | None:
    """Returns the execution that annotated the examples on which a model was evaluated."""
    decided = model.gate_report or model.evaluation
    if decided is None:
        return None
    made_of = lineage.upstream([decided.id], stop_at=(MODEL,)).executions.values()
    return next((e for e in made_of if e.output_of_type(SLICES)), None)


def _read(maker: Execution | None, type_name: str, read: Callable[[Path], T]) -> T | None:
    artifact = maker.output_of_type(type_name) if maker else None
    if artifact is None or not artifact.is_local or artifact.files_missing:
        return None
    try:
        return read(artifact.path)
    except DataError:  # The results are of use without them.
        return None


def _judged(report: GateReport, slices: Slices | None) -> Iterator[SliceResult]:
    lines: dict[tuple[str, str], list[GateLine]] = {}
    for line in report.lines:
        lines.setdefault((line.slice, line.metric), []).append(line)
    compared = {(found.slice, found.metric): found for found in report.comparisons}
    for key in dict.fromkeys((*lines, *compared)):
        of_slice = lines.get(key, [])
        values = compared.get(key) or _of_lines(of_slice)
        known = slices.find(key[0]) if slices else None
        yield SliceResult(
            slice=key[0],
            metric=key[1],
            origin=known.origin if known else "",
            examples=values.examples,
            candidate=values.candidate,
            baseline=values.baseline,
            difference=values.difference,
            low=values.low,
            high=values.high,
            candidate_low=values.candidate_low,
            candidate_high=values.candidate_high,
            thresholds=tuple(line.threshold for line in of_slice),
            verdict=of_slice[0].verdict if of_slice else "",
            decides=any(line.decides for line in of_slice),
            reason=of_slice[0].reason if of_slice else "",
            evidence=known.evidence if known else None,
        )


def _of_lines(lines: list[GateLine]) -> SliceComparison:
    """Returns the values of a slice that the evaluation lacks."""
    line = lines[0]
    return SliceComparison(line.slice, line.metric, line.examples, line.candidate)


def _measured(evaluation: EvaluationResult, slices: Slices | None) -> Iterator[SliceResult]:
    causes = {(cause.metric, cause.slice): cause for cause in evaluation.causes}
    for row in evaluation.rows:
        cause = causes.get((row.metric, row.slice))
        known = slices.find(row.slice) if slices else None
        yield SliceResult(
            slice=row.slice,
            metric=row.metric,
            origin=known.origin if known else "",
            examples=row.examples,
            candidate=row.candidate,
            baseline=row.baseline,
            difference=None if row.baseline is None else row.candidate - row.baseline,
            low=None,
            high=None,
            candidate_low=None,
            candidate_high=None,
            thresholds=(cause.threshold,) if cause else (),
            verdict=REFUSED if cause else "",
            decides=cause is not None,
            reason=str(cause) if cause else "",
            evidence=known.evidence if known else None,
        )
