"""File format of a gate report: what was compared, and what decided, line by line."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx_feeder.schemas.document import JsonDocument, storable
from tfx_feeder.schemas.evaluation import ALL_EXAMPLES, EvaluationResult, ThresholdFailure

VERSION = 1
FILE_NAME = "gate_report.json"
_FORMAT = JsonDocument("tfx_feeder.gate_report", VERSION, FILE_NAME, "gate report")

PASSED, REFUSED, UNDECIDED, SKIPPED = "passed", "refused", "undecided", "skipped"
VERDICTS = (REFUSED, UNDECIDED, PASSED, SKIPPED)

COMPARED = "compared"
NO_BASELINE = "none"
NOT_EVALUATED = "not evaluated"
SAME_MODEL = "same model"
BASELINES = (COMPARED, NO_BASELINE, NOT_EVALUATED, SAME_MODEL)

_NUMBERS = (
    *("candidate", "candidate_low", "candidate_high", "baseline"),
    *("difference", "low", "high", "p_value", "adjusted_p", "limit"),
)


@dataclass(frozen=True, slots=True)
class GateLine:
    """One rule of the gate, applied to one metric on one slice.

    Args:
        slice: Name of the slice, such as ``form 3`` or ``all examples``.
        metric: Name of the metric.
        rule: ``floor``, ``margin`` or ``must not regress``.
        threshold: Threshold as it was declared, such as ``at least 0.9``.
        verdict: ``passed``, ``refused``, ``undecided`` or ``skipped``.
        decides: True if the model is not blessed because of this line.
        reason: Reason for the verdict, in one line.
        examples: Number of examples; ``None`` if they were not counted.
        candidate: Value of the candidate.
        baseline: Value of the baseline.
        difference: Candidate minus baseline.
        low: Lower bound of the interval: of the difference, or of the candidate for a floor.
        high: Upper bound.
        p_value: Probability of such a value if the threshold is just met.
        adjusted_p: The same, corrected for the number of tests.
        method: Name of the test; empty without one.
        examples_needed: Number of examples that would decide; ``None`` if none would, or if the
            verdict is not ``undecided``.
        limit: Number in the threshold: the worst acceptable value, or the largest acceptable loss.
    """

    slice: str
    metric: str
    rule: str
    threshold: str
    verdict: str
    decides: bool
    reason: str
    examples: int | None = None
    candidate: float | None = None
    baseline: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    adjusted_p: float | None = None
    method: str = ""
    examples_needed: int | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class SliceComparison:
    """Metric of both models on one slice, whether or not a rule applies to it.

    Args:
        slice: Name of the slice.
        metric: Name of the metric.
        examples: Number of examples; ``None`` if they were not counted.
        candidate: Value of the candidate.
        candidate_low: Lower bound of its 95 % confidence interval.
        candidate_high: Upper bound.
        baseline: Value of the baseline.
        difference: Candidate minus baseline.
        low: Lower bound of the 95 % confidence interval of the difference.
        high: Upper bound.
        method: Method of the interval of the difference, or else of the candidate.
    """

    slice: str
    metric: str
    examples: int | None = None
    candidate: float | None = None
    candidate_low: float | None = None
    candidate_high: float | None = None
    baseline: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    method: str = ""


@dataclass(frozen=True, slots=True)
class GateReport:
    """Decision of EvalGate.

    Args:
        blessed: True if the candidate may be pushed.
        reason: Reason for the decision, in one line.
        baseline: ``compared``, ``none`` (there is no blessed model), ``not evaluated`` (there is
            one, but the evaluation has no results of it) or ``same model``.
        lines: Lines in the order of their weight: refused, undecided, passed, skipped.
        correction: Correction for the number of tests.
        error_rate: Error rate of the family of tests.
        tests: Number of tests in the family.
        gate: Options as they were declared.
        comparisons: Both models on every slice of the evaluation.
    """

    blessed: bool
    reason: str
    baseline: str
    lines: tuple[GateLine, ...]
    correction: str
    error_rate: float
    tests: int
    gate: Mapping[str, Any]
    comparisons: tuple[SliceComparison, ...] = ()

    @property
    def deciding(self) -> tuple[GateLine, ...]:
        """Lines because of which the model is not blessed."""
        return tuple(line for line in self.lines if line.decides)

    def count(self, verdict: str) -> int:
        """Returns the number of lines with a verdict."""
        return sum(line.verdict == verdict for line in self.lines)


def write(report: GateReport, folder: str | Path) -> Path:
    """Writes ``gate_report.json`` to a folder atomically.

    Args:
        report: Report to write.
        folder: Target folder; created if missing.

    Returns:
        Path of the file.
    """
    document = dataclasses.asdict(report)
    for row in (*document["lines"], *document["comparisons"]):
        row |= {name: storable(v) for name, v in row.items() if isinstance(v, float)}
    return _FORMAT.write(document, folder)


def read(folder: str | Path) -> GateReport:
    """Reads ``gate_report.json`` from a folder.

    Raises:
        DataError: The file is missing, damaged, or has an unknown version.
    """
    return _FORMAT.read(folder, _from_document)


def with_decision(evaluation: EvaluationResult, report: GateReport) -> EvaluationResult:
    """Returns an evaluation with the decision of EvalGate, and the lines that decided as causes.

    Args:
        evaluation: Result of the Evaluator, which decided nothing.
        report: Decision.
    """
    causes = [
        ThresholdFailure(
            metric=line.metric,
            slice=line.slice,
            value=line.candidate,
            threshold=line.threshold,
            baseline=line.baseline,
            reason=line.reason,
        )
        for line in report.deciding
    ]
    if not report.blessed and not causes:
        causes = [ThresholdFailure("", ALL_EXAMPLES, None, "", reason=report.reason)]
    return dataclasses.replace(evaluation, blessed=report.blessed, causes=tuple(causes), gated=True)


def _from_document(document: dict[str, Any]) -> GateReport:
    lines = [_row(GateLine, line) for line in document["lines"]]
    for line in lines:
        if line.verdict not in VERDICTS:
            raise ValueError(f"unknown verdict {line.verdict!r}")
    if document["baseline"] not in BASELINES:
        raise ValueError(f"unknown baseline {document['baseline']!r}")
    document["lines"] = tuple(lines)
    document["comparisons"] = tuple(
        _row(SliceComparison, row) for row in document.get("comparisons", ())
    )
    return GateReport(**document)


def _row(make: Any, row: dict[str, Any]) -> Any:
    return make(**row | {n: float(v) for n in _NUMBERS if (v := row.get(n)) is not None})
