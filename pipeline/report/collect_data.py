"""Collects the data of a run: split sizes, rejected records, statistics, drift and anomalies."""
# Generated protobuf modules define their messages at run time.
# pyright: reportAttributeAccessIssue=false

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from tensorflow_metadata.proto.v0 import anomalies_pb2

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.slice_gen.distances import distance
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import DRIFT_REPORT, EXAMPLES
from tfx_feeder.pipeline.metadata.types import Artifact, Run
from tfx_feeder.pipeline.report.facts import (
    Anomaly,
    DataFacts,
    FeatureDistances,
    PreviousData,
    RejectedRecord,
    RejectionSummary,
    SplitCounts,
    Unavailable,
    read_files,
)
from tfx_feeder.schemas import drift_report
from tfx_feeder.schemas.drift_report import DriftReport
from tfx_feeder.schemas.protos import read_message
from tfx_feeder.schemas.statistics import SplitStatistics, read_statistics

STATISTICS, ANOMALIES = "ExampleStatistics", "ExampleAnomalies"
MAX_LISTED = 100
"""Maximum number of listed rejected records."""
_MAX_CAUSE_CHARS = 500
"""Maximum length of their error messages."""
_MAX_PREVIOUS_RUNS = 20
"""Number of runs searched for previous data."""
_NO_STATISTICS = "This run computed no statistics because it has no StatisticsGen."
_COUNT, _REJECTED = "num_examples_", "rejected_"


def collect_data(lineage: Lineage, run: Run) -> DataFacts:
    """Collects the data of a run.

    Args:
        lineage: Lineage of the store.
        run: Run with the artifacts of its executions.
    """
    examples = next(run.outputs(EXAMPLES), None)
    artifact = _statistics(run)
    statistics = read_files(artifact, read_statistics, absent=_NO_STATISTICS)
    previous = _compared(lineage, run) or _previous(lineage, run, artifact)
    known = () if isinstance(statistics, Unavailable) else statistics
    reports = _reports(run)
    drifted = {found.feature for report in reports for found in report.drifted}
    return DataFacts(
        span=_span(examples),
        splits=_splits(examples, known),
        rejected=_rejected(examples),
        statistics=statistics,
        previous=previous,
        drift=tuple(
            sorted(
                _drift(known, previous),
                key=lambda drift: (drift.feature not in drifted, -drift.largest),
            )
        ),
        anomalies=read_files(
            next(run.outputs(ANOMALIES, "anomalies"), None),
            _read_anomalies,
            absent="This run did not validate its data because it has no ExampleValidator.",
        ),
        reports=reports,
    )


def _statistics(run: Run) -> Artifact | None:
    # Transform also produces statistics, under other keys.
    return next(run.outputs(STATISTICS, "statistics"), None)


def _span(examples: Artifact | None) -> int | None:
    # Older TFX releases store the span as text.
    span = str(examples.properties.get("span", "")) if examples else ""
    return int(span) if span.isdecimal() else None


def _counts(examples: Artifact, prefix: str) -> dict[str, int]:
    return {
        name.removeprefix(prefix): count
        for name, count in sorted(examples.properties.items())
        if name.startswith(prefix) and isinstance(count, int)
    }


def _splits(
    examples: Artifact | None, statistics: Sequence[SplitStatistics]
) -> tuple[SplitCounts, ...] | Unavailable:
    if examples is None:
        return Unavailable("This run has no examples.")
    counts = {s.split: s.examples for s in statistics} | _counts(examples, _COUNT)
    try:
        names = json.loads(examples.properties.get("split_names") or "[]")
    except ValueError:
        names = []
    return tuple(SplitCounts(name, counts.get(name)) for name in names or sorted(counts))


def _rejected(examples: Artifact | None) -> RejectionSummary | Unavailable:
    if examples is None or not _counts(examples, _COUNT):
        return Unavailable("The component that ingested the data counts no rejected records.")
    counts = {reason: count for reason, count in _counts(examples, _REJECTED).items() if count}
    listed = read_files(examples, _read_rejections)
    return RejectionSummary(counts, () if isinstance(listed, Unavailable) else listed)


def _read_rejections(folder: Path) -> tuple[RejectedRecord, ...]:
    path = folder / "rejected.jsonl"
    rejections = []
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line, _ in zip(lines, range(MAX_LISTED), strict=False):
                row = json.loads(line)
                rejections.append(
                    RejectedRecord(
                        str(row["path"]),
                        str(row["reason"]),
                        str(row.get("cause", ""))[:_MAX_CAUSE_CHARS],
                    )
                )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return tuple(rejections)


def _previous(
    lineage: Lineage, run: Run, statistics: Artifact | None
) -> PreviousData | Unavailable:
    """Returns the data of the last earlier run with other statistics."""
    nothing = Unavailable("No earlier run of this pipeline has statistics of different data.")
    if statistics is None:
        return nothing
    ids = lineage.run_ids()
    before = ids[: ids.index(run.id)] if run.id in ids else []
    for run_id in reversed(before[-_MAX_PREVIOUS_RUNS:]):
        other = lineage.run(run_id)
        found = _statistics(other) if other and other.pipeline == run.pipeline else None
        if other is None or found is None or found.id == statistics.id:
            continue
        read = read_files(found, read_statistics)
        if not isinstance(read, Unavailable):
            return PreviousData(run_id, _span(next(other.outputs(EXAMPLES), None)), read)
    return nothing


def _compared(lineage: Lineage, run: Run) -> PreviousData | None:
    """Returns the data that SliceGen compared with: those of the blessed model."""
    read = (
        artifact
        for execution in run.executions
        if execution.output_of_type(DRIFT_REPORT)
        for artifact in execution.inputs.get("baseline_statistics", ())
    )
    statistics = next(read, None)
    found = read_files(statistics, read_statistics)
    if statistics is None or isinstance(found, Unavailable):
        return None
    graph = lineage.upstream([statistics.id], stop_at=(EXAMPLES,))
    maker = graph.producer(statistics.id)
    examples = next(iter(maker.inputs.get("examples", ())), None) if maker else None
    return PreviousData(maker.run_id if maker else "", _span(examples), found)


def _reports(run: Run) -> tuple[DriftReport, ...]:
    found = read_files(next(run.outputs(DRIFT_REPORT), None), drift_report.read)
    return () if isinstance(found, Unavailable) else found


def _drift(
    statistics: Sequence[SplitStatistics], previous: PreviousData | Unavailable
) -> Iterator[FeatureDistances]:
    if not statistics:
        return
    first, *others = statistics
    before = None if isinstance(previous, Unavailable) else previous.split(first.split)
    for feature in first.features:
        drift = FeatureDistances(
            feature.name,
            distance(feature, others[0].feature(feature.name)) if others else None,
            distance(feature, before.feature(feature.name)) if before else None,
        )
        if drift.between_splits or drift.since_previous:
            yield drift


def _read_anomalies(folder: Path) -> tuple[Anomaly, ...]:
    paths = sorted(folder.glob("Split-*/SchemaDiff.pb"))
    if not paths:
        raise DataError(f"{folder} contains no anomalies (SchemaDiff.pb).")
    return tuple(anomaly for path in paths for anomaly in _anomalies(path))


def _anomalies(path: Path) -> Iterator[Anomaly]:
    found = read_message(anomalies_pb2.Anomalies, path)
    split = path.parent.name.removeprefix("Split-")
    overall = found.dataset_anomaly_info
    named = {**found.anomaly_info} | ({"": overall} if overall.description else {})
    for feature, info in sorted(named.items()):
        severity = anomalies_pb2.AnomalyInfo.Severity.Name(info.severity).lower()
        yield Anomaly(split, feature, severity, info.description or info.short_description)
