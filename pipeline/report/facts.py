"""Contents of a report as plain values, collected before rendering."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.slice_gen.distances import Distance
from tfx_feeder.pipeline.metadata.models import ModelVersion
from tfx_feeder.pipeline.metadata.slice_results import SliceResult
from tfx_feeder.pipeline.metadata.types import Artifact, Run
from tfx_feeder.schemas.answer_plots import AnswerPlots
from tfx_feeder.schemas.drift_report import DriftReport
from tfx_feeder.schemas.eval_config import MetricThreshold
from tfx_feeder.schemas.evaluation import EvaluationResult, SliceRow
from tfx_feeder.schemas.gate_report import GateReport
from tfx_feeder.schemas.slices import Slices
from tfx_feeder.schemas.statistics import SplitStatistics
from tfx_feeder.schemas.training_history import History

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Stands in for a part of the report that a run lacks.

    Args:
        reason: Explanation in one or two sentences.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class GatedSlice:
    """Metric on a slice with its threshold.

    Args:
        row: Values of candidate and baseline.
        gate: Threshold; ``None`` if there is none.
        missed: True if the candidate missed the threshold.
        result: Values with their intervals and the verdict of EvalGate; ``None`` if the Evaluator
            decided.
    """

    row: SliceRow
    gate: MetricThreshold | None
    missed: bool
    result: SliceResult | None = None

    @property
    def verdict(self) -> str:
        """Verdict of EvalGate, or ``met`` or ``missed``; empty without a threshold."""
        if self.result:
            return self.result.verdict
        return "" if self.gate is None else "missed" if self.missed else "met"

    @property
    def change(self) -> float | None:
        """Candidate minus baseline; ``None`` without a baseline."""
        return None if self.row.baseline is None else self.row.candidate - self.row.baseline


@dataclass(frozen=True, slots=True)
class EvaluationFacts:
    """Evaluation with its thresholds.

    Args:
        result: Result of the evaluation.
        slices: Slices by metric; metrics with thresholds first.
        artifact: The ``ModelEvaluation`` artifact.
        report: Report of EvalGate; ``None`` if the Evaluator decided.
        found: Slices of SliceGen; ``None`` without it.
        plots: Data of further plots; empty if the evaluation has none.
    """

    result: EvaluationResult
    slices: Mapping[str, tuple[GatedSlice, ...]]
    artifact: Artifact
    report: GateReport | None = None
    found: Slices | None = None
    plots: AnswerPlots = field(default_factory=AnswerPlots)

    @property
    def primary(self) -> GatedSlice | None:
        """Primary metric on all examples; ``None`` if nothing was measured."""
        return next((rows[0] for rows in self.slices.values() if rows), None)


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """Size of a split.

    Args:
        name: Name of the split, such as ``train``.
        examples: Number of examples; ``None`` if unknown.
    """

    name: str
    examples: int | None


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """Record that ingestion rejected.

    Args:
        path: File of the record.
        reason: Category of the rejection.
        cause: Error message.
    """

    path: str
    reason: str
    cause: str


@dataclass(frozen=True, slots=True)
class RejectionSummary:
    """Rejected records of a data set.

    Args:
        counts: Number of records by reason.
        listed: First rejected records.
    """

    counts: Mapping[str, int]
    listed: tuple[RejectedRecord, ...]

    @property
    def total(self) -> int:
        """Total number of rejected records."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Violation of the schema.

    Args:
        split: Name of the split.
        feature: Name of the feature; empty if the anomaly concerns the whole data set.
        severity: ``error`` or ``warning``.
        text: Description.
    """

    split: str
    feature: str
    severity: str
    text: str


@dataclass(frozen=True, slots=True)
class FeatureDistances:
    """Distances of a feature's distribution in the first split from other distributions.

    Args:
        feature: Name of the feature.
        between_splits: Distance from the second split; ``None`` if undefined.
        since_previous: Distance from the same split of the previous data; ``None`` if undefined.
    """

    feature: str
    between_splits: Distance | None
    since_previous: Distance | None

    @property
    def largest(self) -> float:
        """Larger of both distances; 0 if there is none."""
        return max((d.value for d in (self.between_splits, self.since_previous) if d), default=0.0)


@dataclass(frozen=True, slots=True)
class PreviousData:
    """Data of the last earlier run with other statistics.

    Args:
        run_id: Id of that run.
        span: Span of the data; ``None`` without spans.
        statistics: Statistics by split.
    """

    run_id: str
    span: int | None
    statistics: tuple[SplitStatistics, ...]

    def split(self, name: str) -> SplitStatistics | None:
        """Returns the statistics of a split; ``None`` if there are none."""
        return next((split for split in self.statistics if split.split == name), None)


@dataclass(frozen=True, slots=True)
class DataFacts:
    """Data of a run.

    Args:
        span: Span of the data; ``None`` without spans.
        splits: Split sizes.
        rejected: Rejected records.
        statistics: Statistics by split, the training split first.
        previous: Data that the distributions are compared with.
        drift: Drift by feature, largest first.
        anomalies: Violations of the schema.
        reports: Verdicts of SliceGen about drift and serving skew.
    """

    span: int | None
    splits: tuple[SplitCounts, ...] | Unavailable
    rejected: RejectionSummary | Unavailable
    statistics: tuple[SplitStatistics, ...] | Unavailable
    previous: PreviousData | Unavailable
    drift: tuple[FeatureDistances, ...]
    anomalies: tuple[Anomaly, ...] | Unavailable
    reports: tuple[DriftReport, ...] = ()


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """Model of the pipeline with its primary metric.

    Args:
        model: The model.
        value: Primary metric on all examples; ``None`` if unknown.
        is_current: True for the model of the reported run.
    """

    model: ModelVersion
    value: float | None
    is_current: bool


@dataclass(frozen=True, slots=True)
class Reproduction:
    """Information needed to reproduce a run.

    Args:
        commands: Pairs of purpose and command line.
        pins: Package versions.
        seeds: Random seeds by setting.
        hashes: Hashes of code, data and schema by subject.
        files: SHA-256 of the pushed files by path, from the model card.
        settings: Execution properties by node: name and value.
    """

    commands: tuple[tuple[str, str], ...]
    pins: Mapping[str, str]
    seeds: Mapping[str, str]
    hashes: Mapping[str, str]
    files: Mapping[str, str]
    settings: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Contents of a run's report.

    Args:
        run: The run.
        model: Model of the run; ``None`` if it has none.
        history: Training history of the model.
        evaluation: Evaluation of the model.
        data: Data of the run.
        versions: Models of the pipeline, oldest first.
        metric: Metric that ``versions`` are compared by; empty without an evaluation.
        earlier_runs: Ids of the earlier runs that produced artifacts of this run, by artifact id.
        reproduction: Information needed to reproduce the run.
        collected_at: Time of collection; UTC.
    """

    run: Run
    model: ModelVersion | None
    history: History | Unavailable
    evaluation: EvaluationFacts | Unavailable
    data: DataFacts
    versions: tuple[ServedVersion, ...]
    metric: str
    earlier_runs: Mapping[int, str]
    reproduction: Reproduction
    collected_at: datetime


def read_files(
    artifact: Artifact | None, read: Callable[[Path], T], *, absent: str = ""
) -> T | Unavailable:
    """Reads the files of an artifact, or returns why they are unavailable.

    Args:
        artifact: Artifact to read; ``None`` if the run has none.
        read: Reader of the artifact's folder; may raise DataError.
        absent: Reason to return if there is no artifact.
    """
    if artifact is None:
        return Unavailable(absent)
    name = f"{artifact.type_name} {artifact.id}"
    if not artifact.is_local:
        return Unavailable(f"The files of {name} are on another machine: {artifact.uri}")
    if artifact.files_missing:
        return Unavailable(f"The files of {name} are missing: {artifact.path}")
    try:
        return read(artifact.path)
    except DataError as error:
        return Unavailable(str(error))
