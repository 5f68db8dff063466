"""Data section: split sizes, rejected records, anomalies, drift and distributions."""

from collections.abc import Iterator

from tfx_feeder.components.slice_gen.distances import Distance
from tfx_feeder.pipeline.report.blocks import (
    Block,
    Cell,
    Charts,
    Collapsible,
    Column,
    Note,
    Section,
    number_cell,
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
from tfx_feeder.schemas.drift_report import DRIFT, MISSING, NO_DRIFT, NOT_TESTED, SERVING_SKEW

_MEASURES = (
    "Distances range from 0 (identical) to 1 (disjoint): Jensen–Shannon divergence for numeric "
    "features, L-infinity distance for categorical features."
)

_VERDICTS = (
    "A feature drifts if its distribution differs significantly, corrected for the number of "
    "features, and by more than chance alone makes one expect. Of a classifier, the distance is "
    "the area under its ROC curve."
)
_VERDICT_STYLES = {DRIFT: "warn", MISSING: "bad", NO_DRIFT: "ok", NOT_TESTED: "muted"}


def data_section(facts: RunFacts) -> Section:
    """Returns the data section."""
    data = facts.data
    blocks = (
        *_splits(data),
        *_rejected(data.rejected),
        *_anomalies(data),
        *_verdicts(data),
        *_drift(facts),
        *_features(facts),
    )
    lead = "" if data.span is None else f"Span {data.span}."
    return Section("data", "Data", blocks, lead)


def _splits(data: DataFacts) -> Iterator[Block]:
    if isinstance(data.splits, Unavailable):
        yield Note(data.splits.reason, "missing")
        return
    total = sum(split.examples or 0 for split in data.splits)
    rows = [
        (
            Cell(split.name),
            Cell("not counted", style="muted")
            if split.examples is None
            else Cell(
                f"{split.examples:,}", split.examples, fraction=split.examples / (total or 1)
            ),
            number_cell(100 * split.examples / total if split.examples and total else None, ".1f"),
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
        yield Note("No records were rejected.", "ok")
        return
    yield Note(f"{rejected.total:,} records were rejected.", "warn")
    rows = [
        (Cell(_words(reason)), number_cell(count, ",")) for reason, count in rejected.counts.items()
    ]
    yield table("Rejected records", (Column("reason"), Column("records", True)), rows)
    if rejected.listed:
        columns = (Column("file"), Column("reason"), Column("cause"))
        listed = [(Cell(r.path), Cell(_words(r.reason)), Cell(r.cause)) for r in rejected.listed]
        title = f"First {len(listed)} rejected records"
        yield Collapsible(title, (table(title, columns, listed),))


def _anomalies(data: DataFacts) -> Iterator[Block]:
    if isinstance(data.anomalies, Unavailable):
        yield Note(data.anomalies.reason, "missing")
    elif not data.anomalies:
        yield Note("The data match the schema.", "ok")
    else:
        columns = (Column("feature"), Column("split"), Column("severity"), Column("description"))
        rows = [
            (
                Cell(anomaly.feature or "entire data set"),
                Cell(anomaly.split),
                Cell(anomaly.severity, style="bad" if anomaly.severity == "error" else "warn"),
                Cell(anomaly.text),
            )
            for anomaly in data.anomalies
        ]
        yield table("Schema anomalies", columns, rows)


def _drift(facts: RunFacts) -> Iterator[Block]:
    data = facts.data
    if isinstance(data.statistics, Unavailable):
        yield Note(data.statistics.reason, "missing")
        return
    names = [split.split for split in data.statistics]
    if isinstance(data.previous, Unavailable):
        yield Note(data.previous.reason, "missing")
    if not data.drift:
        return
    between = f"{names[0]} vs. {names[1]}" if len(names) > 1 else "between splits"
    previous = _label(data.previous) if isinstance(data.previous, PreviousData) else "previous data"
    columns = (
        Column("feature"),
        Column(between, True),
        Column(f"{names[0]} vs. {previous}", True),
        Column("measure"),
    )
    rows = [
        (
            Cell(drift.feature),
            _distance(drift.between_splits),
            _distance(drift.since_previous),
            Cell((drift.between_splits or drift.since_previous or Distance("", 0)).measure),
        )
        for drift in data.drift
    ]
    yield table("Distances", columns, rows, _MEASURES)
    charts = distribution_charts(data)
    if charts:
        yield Charts(charts, grid=True)


def _verdicts(data: DataFacts) -> Iterator[Block]:
    """Yields the verdict about each feature, and about all of them together."""
    for report in data.reports:
        features = (Column("feature"), Column("aspect"), Column("distance", True))
        columns = (*features, Column("noise floor", True), Column("p", True), Column("verdict"))
        rows = [
            (
                Cell(found.feature),
                Cell(found.aspect),
                number_cell(found.distance, ".4f"),
                number_cell(found.noise_floor, ".4f"),
                number_cell(found.adjusted_p_value, ".2g"),
                Cell(f"{found.verdict}: {found.reason}", style=_VERDICT_STYLES[found.verdict]),
            )
            for found in report.features
        ]
        rows += [
            (
                Cell(f"all, by {found.learner}"),
                Cell(found.inputs),
                number_cell(found.auc, ".4f"),
                Cell(""),
                number_cell(found.adjusted_p_value, ".2g"),
                Cell(f"{found.verdict}: {found.reason}", style=_VERDICT_STYLES[found.verdict]),
            )
            for found in report.classifiers
        ]
        title = "Serving skew" if report.kind == SERVING_SKEW else "Drift"
        caption = f"{title}: {report.current} against {report.baseline}"
        yield table(caption, columns, rows, _VERDICTS)


def _label(previous: PreviousData) -> str:
    return f"run {previous.run_id}" if previous.span is None else f"span {previous.span}"


def _features(facts: RunFacts) -> Iterator[Block]:
    headings = ("missing %", "mean", "std", "min", "median", "max", "unique")
    columns = [Column("feature"), Column("split"), Column("kind")]
    columns += [Column(title, True) for title in headings]
    rows = [
        (
            Cell(feature.name),
            Cell(name),
            Cell(feature.kind),
            number_cell(feature.missing_pct, ".1f"),
            *(
                number_cell(value)
                for value in (
                    feature.mean,
                    feature.std,
                    feature.minimum,
                    feature.median,
                    feature.maximum,
                )
            ),
            number_cell(feature.unique, ","),
        )
        for name, features in feature_sets(facts.data).items()
        for feature in features.values()
    ]
    if rows:
        yield Collapsible("All features", (table("Features", columns, rows),))


def _distance(distance: Distance | None) -> Cell:
    if distance is None:
        return Cell("")
    return Cell(f"{distance.value:.4f}", distance.value, fraction=distance.value)


def _words(reason: str) -> str:
    return reason.replace("_", " ")
