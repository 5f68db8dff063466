"""The data of a run: how many, what was left out, how they are distributed, what is odd."""
# Generated protobuf modules name their messages at run time only.
# pyright: reportAttributeAccessIssue=false

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from tensorflow_metadata.proto.v0 import anomalies_pb2

from tfx_feeder.common.errors import DataError
from tfx_feeder.pipeline.metadata.drift import distance
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import EXAMPLES
from tfx_feeder.pipeline.metadata.types import Artifact, Run
from tfx_feeder.pipeline.report.facts import (
    Anomaly,
    DataFacts,
    FeatureDrift,
    PreviousData,
    RejectedRecord,
    RejectionSummary,
    SplitCounts,
    Unavailable,
    read_files,
)
from tfx_feeder.schemas.protos import read_message
from tfx_feeder.schemas.statistics import SplitStatistics, read_statistics

STATISTICS, ANOMALIES = "ExampleStatistics", "ExampleAnomalies"
LISTED = 100
"""How many rejected records are listed."""
_LONGEST = 500
"""Characters of what was wrong with one."""
_LOOK_BACK = 20
"""How many runs the search for earlier data goes back."""
_NO_STATISTICS = "This run computed no statistics: it has no StatisticsGen."
_COUNT, _REJECTED = "num_examples_", "rejected_"


def collect_data(lineage: Lineage, run: Run) -> DataFacts:
    """Gathers what there is to say about the data of a run."""
    examples = next(run.outputs(EXAMPLES), None)
    statistics_at = _statistics(run)
    statistics = read_files(statistics_at, read_statistics, absent=_NO_STATISTICS)
    earlier = _earlier(lineage, run, statistics_at)
    known = () if isinstance(statistics, Unavailable) else statistics
    return DataFacts(
        span=_span(examples),
        splits=_splits(examples, known),
        rejected=_rejected(examples),
        statistics=statistics,
        earlier=earlier,
        drift=tuple(sorted(_drift(known, earlier), key=lambda drift: -drift.largest)),
        anomalies=read_files(
            next(run.outputs(ANOMALIES, "anomalies"), None),
            _read_anomalies,
            absent="This run did not validate its data: it has no ExampleValidator.",
        ),
    )


def _statistics(run: Run) -> Artifact | None:
    # Transform makes statistics as well, under other keys.
    return next(run.outputs(STATISTICS, "statistics"), None)


def _span(examples: Artifact | None) -> int | None:
    # Older releases of TFX write it as text.
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
        return Unavailable("The component that read the data counts no rejected records.")
    counts = {reason: count for reason, count in _counts(examples, _REJECTED).items() if count}
    listed = read_files(examples, _read_rejections)
    return RejectionSummary(counts, () if isinstance(listed, Unavailable) else listed)


def _read_rejections(folder: Path) -> tuple[RejectedRecord, ...]:
    path = folder / "rejected.jsonl"
    rejections = []
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line, _ in zip(lines, range(LISTED), strict=False):
                row = json.loads(line)
                rejections.append(
                    RejectedRecord(
                        str(row["path"]), str(row["reason"]), str(row.get("cause", ""))[:_LONGEST]
                    )
                )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return tuple(rejections)


def _earlier(lineage: Lineage, run: Run, statistics: Artifact | None) -> PreviousData | Unavailable:
    """Finds the data of the last run before that was about others."""
    nothing = Unavailable("No earlier run of this pipeline has statistics of other data.")
    if statistics is None:
        return nothing
    ids = lineage.run_ids()
    before = ids[: ids.index(run.id)] if run.id in ids else []
    for run_id in reversed(before[-_LOOK_BACK:]):
        other = lineage.run(run_id)
        found = _statistics(other) if other and other.pipeline == run.pipeline else None
        if other is None or found is None or found.id == statistics.id:
            continue
        read = read_files(found, read_statistics)
        if not isinstance(read, Unavailable):
            return PreviousData(run_id, _span(next(other.outputs(EXAMPLES), None)), read)
    return nothing


def _drift(
    statistics: Sequence[SplitStatistics], earlier: PreviousData | Unavailable
) -> Iterator[FeatureDrift]:
    if not statistics:
        return
    first, *others = statistics
    before = None if isinstance(earlier, Unavailable) else earlier.split(first.split)
    for feature in first.features:
        drift = FeatureDrift(
            feature.name,
            distance(feature, others[0].feature(feature.name)) if others else None,
            distance(feature, before.feature(feature.name)) if before else None,
        )
        if drift.between_splits or drift.since_before:
            yield drift


def _read_anomalies(folder: Path) -> tuple[Anomaly, ...]:
    paths = sorted(folder.glob("Split-*/SchemaDiff.pb"))
    if not paths:
        raise DataError(f"No anomalies (SchemaDiff.pb) are in {folder}.")
    return tuple(anomaly for path in paths for anomaly in _anomalies(path))


def _anomalies(path: Path) -> Iterator[Anomaly]:
    found = read_message(anomalies_pb2.Anomalies, path)
    split = path.parent.name.removeprefix("Split-")
    about_all = found.dataset_anomaly_info
    named = {**found.anomaly_info} | ({"": about_all} if about_all.description else {})
    for feature, info in sorted(named.items()):
        severity = anomalies_pb2.AnomalyInfo.Severity.Name(info.severity).lower()
        yield Anomaly(split, feature, severity, info.description or info.short_description)
