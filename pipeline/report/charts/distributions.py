"""Charts of how features are distributed in the splits and in the earlier data."""

from collections.abc import Mapping

from tfx_feeder.pipeline.report.charts.base import Rows, Spec, VegaChart, colors, series
from tfx_feeder.pipeline.report.facts import DataFacts, PreviousData
from tfx_feeder.schemas.statistics import FeatureStatistics

MOST_FEATURES = 6
"""Features that are drawn: those that changed most."""
_MOST_VALUES, _LONGEST_VALUE = 12, 60


def distribution_charts(data: DataFacts) -> list[VegaChart]:
    """Returns the distributions of the features that changed most."""
    sets = feature_sets(data)
    charts: list[VegaChart] = []
    for name in (drift.feature for drift in data.drift):
        spec = _distribution({label: f[name] for label, f in sets.items() if name in f})
        if spec is not None and len(charts) < MOST_FEATURES:
            described = f"Distribution of {name} in {', '.join(sets)}."
            charts.append(VegaChart(f"feature-{len(charts)}", name, described, spec))
    return charts


def feature_sets(data: DataFacts) -> Mapping[str, Mapping[str, FeatureStatistics]]:
    """Returns the features by name, of each split and of the earlier data."""
    statistics = data.statistics if isinstance(data.statistics, tuple) else ()
    sets = {split.split: split for split in statistics}
    if isinstance(data.earlier, PreviousData) and sets:
        # What changed over time is looked for in the first split only.
        before = data.earlier.split(next(iter(sets)))
        sets |= {"earlier data": before} if before else {}
    return {name: {f.name: f for f in split.features} for name, split in sets.items()}


def _distribution(features: Mapping[str, FeatureStatistics]) -> Spec | None:
    if all(any(b.high > b.low for b in feature.buckets) for feature in features.values()):
        return _density(features)
    return _shares(features) if all(feature.shares for feature in features.values()) else None


def _density(features: Mapping[str, FeatureStatistics]) -> Spec:
    """Share per unit of the value: sets differ in the width of their buckets."""
    rows: Rows = []
    for name, feature in features.items():
        wide = [b for b in feature.buckets if b.high > b.low]
        rows += [{"set": name, "x": b.low, "y": b.share / (b.high - b.low)} for b in wide]
        rows.append({"set": name, "x": wide[-1].high, "y": rows[-1]["y"]})
    axis = {"tickCount": 3, "format": "~g"}
    return {
        "height": 110,
        "data": {"values": rows},
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 1.5},
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "title": None, "scale": {"zero": False}},
            "y": {"field": "y", "type": "quantitative", "title": "density", "axis": axis},
            "color": {"field": "set", **colors(series(features))},
        },
    }


def _shares(features: Mapping[str, FeatureStatistics]) -> Spec:
    largest: dict[str, float] = {}
    for feature in features.values():
        for value, share in feature.shares:
            largest[value] = max(share, largest.get(value, 0.0))
    shown = sorted(largest, key=lambda value: -largest[value])[:_MOST_VALUES]
    rows = [
        {
            "set": name,
            "value": value[:_LONGEST_VALUE],
            "share": dict(feature.shares).get(value, 0.0),
        }
        for name, feature in features.items()
        for value in shown
    ]
    axis = {"format": "%", "tickCount": 4}
    return {
        "height": 8 * len(rows),
        "data": {"values": rows},
        "mark": {"type": "bar", "tooltip": True},
        "encoding": {
            "y": {"field": "value", "type": "nominal", "title": None, "sort": None},
            "yOffset": {"field": "set", "sort": None},
            "x": {"field": "share", "type": "quantitative", "title": "share", "axis": axis},
            "color": {"field": "set", **colors(series(features))},
        },
    }
