"""The section of a report about the data: sizes, distributions, drift, what was left out."""

from collections.abc import Iterator

from tfx_feeder.pipeline.metadata.drift import Distance
from tfx_feeder.pipeline.report.blocks import (
    Block,
    Cell,
    Charts,
    Collapsible,
    Column,
    Note,
    Section,
    figure,
    table,
)
from tfx_feeder.pipeline.report.charts.distributions import distribution_charts, feature_sets
from tfx_feeder.pipeline.report.facts import (
    DataFacts,
    PreviousData,
    RejectionSummary,
    RunFacts,
    Unavailable,
)

_MEASURES = (
    "Distances go from 0, the same distribution, to 1, nothing in common: the Jensen–Shannon "
    "divergence of numbers, the largest difference of a share of categories."
)


def data_section(facts: RunFacts) -> Section:
    """Returns split sizes, drift, distributions, anomalies and rejected records."""
    data = facts.data
    blocks = (
        *_splits(data),
        *_rejected(data.rejected),
        *_anomalies(data),
        *_drift(facts),
        *_features(facts),
    )
    lead = "" if data.span is None else f"Span {data.span}."
    return Section("data", "Data", blocks, lead)


def _splits(data: DataFacts) -> Iterator[Block]:
    if isinstance(data.splits, Unavailable):
        yield Note(data.splits.reason, "missing")
        return
    known = sum(split.examples or 0 for split in data.splits)
    rows = [
        (
            Cell(split.name),
            Cell("not counted", style="muted")
            if split.examples is None
            else Cell(f"{split.examples:,}", split.examples, share=split.examples / (known or 1)),
            figure(100 * split.examples / known if split.examples and known else None, ".1f"),
        )
        for split in data.splits
    ]
    columns = (Column("split"), Column("examples", True), Column("percent", True))
    yield table("Splits", columns, rows)


def _rejected(rejected: RejectionSummary | Unavailable) -> Iterator[Block]:
    if isinstance(rejected, Unavailable):
        yield Note(rejected.reason, "missing")
        return
    if not rejected.total:
        yield Note("No record was rejected.", "ok")
        return
    yield Note(f"{rejected.total:,} records were rejected.", "warn")
    rows = [(Cell(_words(reason)), figure(count, ",")) for reason, count in rejected.counts.items()]
    yield table("Rejected records", (Column("reason"), Column("records", True)), rows)
    if rejected.listed:
        columns = (Column("file"), Column("reason"), Column("cause"))
        listed = [(Cell(r.path), Cell(_words(r.reason)), Cell(r.cause)) for r in rejected.listed]
        title = f"The first {len(listed)} of them"
        yield Collapsible(title, (table(title, columns, listed),))


def _anomalies(data: DataFacts) -> Iterator[Block]:
    if isinstance(data.anomalies, Unavailable):
        yield Note(data.anomalies.reason, "missing")
    elif not data.anomalies:
        yield Note("Nothing contradicts the schema.", "ok")
    else:
        columns = (Column("feature"), Column("split"), Column("severity"), Column("what"))
        rows = [
            (
                Cell(anomaly.feature or "all of the data"),
                Cell(anomaly.split),
                Cell(anomaly.severity, style="bad" if anomaly.severity == "error" else "warn"),
                Cell(anomaly.text),
            )
            for anomaly in data.anomalies
        ]
        yield table("What contradicts the schema", columns, rows)


def _drift(facts: RunFacts) -> Iterator[Block]:
    data = facts.data
    if isinstance(data.statistics, Unavailable):
        yield Note(data.statistics.reason, "missing")
        return
    names = [split.split for split in data.statistics]
    if isinstance(data.earlier, Unavailable):
        yield Note(data.earlier.reason, "missing")
    if not data.drift:
        return
    between = f"{names[0]} from {names[1]}" if len(names) > 1 else "between splits"
    before = _before(data.earlier) if isinstance(data.earlier, PreviousData) else "since before"
    columns = (
        Column("feature"),
        Column(between, True),
        Column(f"{names[0]} since {before}", True),
        Column("measure"),
    )
    rows = [
        (
            Cell(drift.feature),
            _distance(drift.between_splits),
            _distance(drift.since_before),
            Cell((drift.between_splits or drift.since_before or Distance("", 0)).measure),
        )
        for drift in data.drift
    ]
    yield table("Drift", columns, rows, _MEASURES)
    charts = distribution_charts(data)
    if charts:
        yield Charts(charts, grid=True)


def _before(earlier: PreviousData) -> str:
    return f"run {earlier.run_id}" if earlier.span is None else f"span {earlier.span}"


def _features(facts: RunFacts) -> Iterator[Block]:
    headings = ("missing %", "mean", "std", "least", "median", "most", "unique")
    columns = [Column("feature"), Column("in"), Column("kind")]
    columns += [Column(title, True) for title in headings]
    rows = [
        (
            Cell(feature.name),
            Cell(name),
            Cell(feature.kind),
            figure(feature.missing_pct, ".1f"),
            *(
                figure(value)
                for value in (
                    feature.mean,
                    feature.std,
                    feature.least,
                    feature.median,
                    feature.most,
                )
            ),
            figure(feature.unique, ","),
        )
        for name, features in feature_sets(facts.data).items()
        for feature in features.values()
    ]
    if rows:
        yield Collapsible("All features", (table("Features", columns, rows),))


def _distance(distance: Distance | None) -> Cell:
    if distance is None:
        return Cell("")
    return Cell(f"{distance.value:.4f}", distance.value, share=distance.value)


def _words(reason: str) -> str:
    return reason.replace("_", " ")
