"""Charts of feature distributions in the splits and in the previous data."""

from collections.abc import Mapping

from tfx_feeder.pipeline.report.charts.base import Rows, Spec, VegaChart, color_channel, series
from tfx_feeder.pipeline.report.facts import DataFacts, PreviousData
from tfx_feeder.schemas.statistics import FeatureStatistics

MAX_FEATURES = 6
"""Maximum number of features drawn, largest drift first."""
_MAX_VALUES, _MAX_VALUE_CHARS = 12, 60


def distribution_charts(data: DataFacts) -> list[VegaChart]:
    """Returns the distributions of the features with the largest drift."""
    sets = feature_sets(data)
    charts: list[VegaChart] = []
    for name in (drift.feature for drift in data.drift):
        spec = _distribution({label: f[name] for label, f in sets.items() if name in f})
        if spec is not None and len(charts) < MAX_FEATURES:
            description = f"Distribution of {name} in {', '.join(sets)}."
            charts.append(VegaChart(f"feature-{len(charts)}", name, description, spec))
    return charts


def feature_sets(data: DataFacts) -> Mapping[str, Mapping[str, FeatureStatistics]]:
    """Returns the features of each split and of the previous data, by name."""
    statistics = data.statistics if isinstance(data.statistics, tuple) else ()
    sets = {split.split: split for split in statistics}
    if isinstance(data.previous, PreviousData) and sets:
        # Drift over time is measured on the first split only.
        previous = data.previous.split(next(iter(sets)))
        sets |= {"previous data": previous} if previous else {}
    return {name: {f.name: f for f in split.features} for name, split in sets.items()}


def _distribution(features: Mapping[str, FeatureStatistics]) -> Spec | None:
    if all(any(b.high > b.low for b in feature.buckets) for feature in features.values()):
        return _density(features)
    return (
        _frequencies(features) if all(feature.fractions for feature in features.values()) else None
    )


def _density(features: Mapping[str, FeatureStatistics]) -> Spec:
    """Draws densities, because the data sets differ in bucket width."""
    rows: Rows = []
    for name, feature in features.items():
        wide = [b for b in feature.buckets if b.high > b.low]
        rows += [{"set": name, "x": b.low, "y": b.fraction / (b.high - b.low)} for b in wide]
        rows.append({"set": name, "x": wide[-1].high, "y": rows[-1]["y"]})
    axis = {"tickCount": 3, "format": "~g"}
    return {
        "height": 110,
        "data": {"values": rows},
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 1.5},
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "title": None, "scale": {"zero": False}},
            "y": {"field": "y", "type": "quantitative", "title": "density", "axis": axis},
            "color": {"field": "set", **color_channel(series(features))},
        },
    }


def _frequencies(features: Mapping[str, FeatureStatistics]) -> Spec:
    largest: dict[str, float] = {}
    for feature in features.values():
        for value, fraction in feature.fractions:
            largest[value] = max(fraction, largest.get(value, 0.0))
    shown = sorted(largest, key=lambda value: -largest[value])[:_MAX_VALUES]
    rows = [
        {
            "set": name,
            "value": value[:_MAX_VALUE_CHARS],
            "fraction": dict(feature.fractions).get(value, 0.0),
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
            "x": {"field": "fraction", "type": "quantitative", "title": "fraction", "axis": axis},
            "color": {"field": "set", **color_channel(series(features))},
        },
    }
