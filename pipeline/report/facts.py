"""Contents of a report as plain values, collected before rendering."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from tfx_feeder.common.errors import DataError
from tfx_feeder.pipeline.metadata.drift import Distance
from tfx_feeder.pipeline.metadata.models import ModelVersion
from tfx_feeder.pipeline.metadata.types import Artifact, Run
from tfx_feeder.schemas.eval_config import MetricThreshold
from tfx_feeder.schemas.evaluation import EvaluationResult, SliceRow
from tfx_feeder.schemas.statistics import SplitStatistics
from tfx_feeder.schemas.training_history import History

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Stands for a part that a run lacks.

    Args:
        reason: Why, in one or two sentences.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class GatedSlice:
    """A metric on a slice, and what it had to reach there.

    Args:
        row: The figures.
        gate: What it had to reach; ``None`` where nothing was asked.
        missed: Whether a threshold was missed.
    """

    row: SliceRow
    gate: MetricThreshold | None
    missed: bool

    @property
    def change(self) -> float | None:
        """Candidate minus baseline; ``None`` where there is no baseline."""
        return None if self.row.baseline is None else self.row.candidate - self.row.baseline


@dataclass(frozen=True, slots=True)
class EvaluationFacts:
    """An evaluation with its gates.

    Args:
        judgement: What it came to.
        slices: By metric, those with gates first.
        artifact: Where it is.
    """

    judgement: EvaluationResult
    slices: Mapping[str, tuple[GatedSlice, ...]]
    artifact: Artifact

    @property
    def headline(self) -> GatedSlice | None:
        """The metric that counts most, over all examples; ``None`` where nothing was measured."""
        return next((rows[0] for rows in self.slices.values() if rows), None)


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """A split of the data.

    Args:
        name: Such as ``train``.
        examples: How many it holds; ``None`` where nothing says it.
    """

    name: str
    examples: int | None


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that was left out.

    Args:
        path: File in which it was.
        reason: The word under which it is counted.
        cause: What was wrong.
    """

    path: str
    reason: str
    cause: str


@dataclass(frozen=True, slots=True)
class RejectionSummary:
    """The records that were left out.

    Args:
        counts: By reason.
        listed: The first of them.
    """

    counts: Mapping[str, int]
    listed: tuple[RejectedRecord, ...]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something that contradicts the schema.

    Args:
        split: In which it was found.
        feature: Which is at fault.
        severity: ``error`` or ``warning``.
        text: What is wrong.
    """

    split: str
    feature: str
    severity: str
    text: str


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """How far a feature's distribution is from others.

    Args:
        feature: Its name.
        between_splits: Of the first split from the second; ``None`` where that cannot be said.
        since_before: Of the first split from that of the earlier data; ``None`` likewise.
    """

    feature: str
    between_splits: Distance | None
    since_before: Distance | None

    @property
    def largest(self) -> float:
        """The larger of both; 0 where there is none."""
        return max((d.value for d in (self.between_splits, self.since_before) if d), default=0.0)


@dataclass(frozen=True, slots=True)
class PreviousData:
    """The data before those of a run.

    Args:
        run_id: Of the run that used them.
        span: Their span; ``None`` where they have none.
        statistics: Of their splits.
    """

    run_id: str
    span: int | None
    statistics: tuple[SplitStatistics, ...]

    def split(self, name: str) -> SplitStatistics | None:
        """Returns the statistics of a split; ``None`` where there are none."""
        return next((split for split in self.statistics if split.split == name), None)


@dataclass(frozen=True, slots=True)
class DataFacts:
    """The data of a run.

    Args:
        span: ``None`` where they have none.
        splits: Their sizes.
        rejected: What was left out of them.
        statistics: One for each split.
        earlier: What their distributions are compared with.
        drift: The features, the one that changed most first.
        anomalies: What contradicts the schema.
    """

    span: int | None
    splits: tuple[SplitCounts, ...] | Unavailable
    rejected: RejectionSummary | Unavailable
    statistics: tuple[SplitStatistics, ...] | Unavailable
    earlier: PreviousData | Unavailable
    drift: tuple[FeatureDrift, ...]
    anomalies: tuple[Anomaly, ...] | Unavailable


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """A model among the others of its pipeline.

    Args:
        model: What became of it.
        value: Of the headline metric over all examples; ``None`` where that is not known.
        here: Whether it is the model of the run that the report is about.
    """

    model: ModelVersion
    value: float | None
    here: bool


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What it takes to do a run again.

    Args:
        commands: What for, and the command.
        pins: Versions by package.
        seeds: By what they are for.
        hashes: Of code, data and schema, by what they are of.
        files: SHA-256 of the pushed files, where there is a model card.
        settings: What each node was called with: name and value.
    """

    commands: tuple[tuple[str, str], ...]
    pins: Mapping[str, str]
    seeds: Mapping[str, str]
    hashes: Mapping[str, str]
    files: Mapping[str, str]
    settings: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """All that the report of a run says.

    Args:
        run: The run.
        model: Its model; ``None`` where it made none.
        history: The training of its model.
        evaluation: The evaluation of its model.
        data: Its data.
        versions: The models of its pipeline, the oldest first.
        metric: What ``versions`` are compared by; empty where nothing was evaluated.
        earlier_runs: By artifact id: the run that made an input which this run did not make.
        reproduction: What it takes to do it again.
        written: When this was gathered; UTC.
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
    written: datetime


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
