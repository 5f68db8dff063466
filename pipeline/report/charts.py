"""Charts of everything but the training itself, as Vega-Lite."""

from collections.abc import Iterable, Mapping, Sequence

from tfx_feeder.pipeline.report.curves import Chart, Rows, Spec, number
from tfx_feeder.pipeline.report.facts import Evaluation, GatedSlice, RunFacts, Version
from tfx_feeder.pipeline.report.statistics import Feature
from tfx_feeder.schemas.training_history import CandidateRow

MOST_SLICES = 40
"""Slices that are drawn: the worst."""
MOST_FEATURES = 6
"""Features whose distributions are drawn: those that changed most."""
_MOST_VALUES, _LONGEST_VALUE = 12, 60
_ROW_PX = 24
_STATES = {
    "pushed": "$ok",
    "blessed": "$series0",
    "not blessed": "$bad",
    "withdrawn": "$warn",
    "not evaluated": "$muted",
}


def candidates_chart(candidates: Sequence[CandidateRow]) -> Chart | None:
    """Returns what was predicted for the strategies against what happened."""
    rows = [
        {
            "strategy": row.strategy,
            "verdict": row.verdict,
            "predicted": number(row.predicted_s),
            "low": number(row.low_s),
            "high": number(row.high_s),
            "took": number(row.actual_s),
        }
        for row in candidates
        if row.predicted_s is not None
    ]
    if not rows:
        return None
    color = {
        "type": "nominal",
        "title": None,
        "scale": {
            "domain": ["predicted, with its range", "took"],
            "range": ["$series0", "$series3"],
        },
    }
    predicted, took = ({"datum": name, **color} for name in color["scale"]["domain"])
    x = {"type": "quantitative", "title": "seconds", "scale": {"zero": True}}
    tooltip = [
        {"field": "strategy", "type": "nominal"},
        {"field": "verdict", "type": "nominal"},
        *(
            {"field": name, "type": "quantitative", "format": ".4~g", "title": f"{name}, s"}
            for name in ("predicted", "low", "high", "took")
        ),
    ]
    spec = {
        "height": 34 * len(rows),
        "data": {"values": rows},
        "encoding": {"y": _names("strategy"), "tooltip": tooltip},
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 6, "opacity": 0.35, "strokeCap": "round"},
                "encoding": {
                    "x": {"field": "low", **x},
                    "x2": {"field": "high"},
                    "color": predicted,
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 90},
                "encoding": {"x": {"field": "predicted", **x}, "color": predicted},
            },
            {
                "mark": {"type": "tick", "thickness": 3, "size": 22},
                "encoding": {"x": {"field": "took", **x}, "color": took},
            },
        ],
    }
    described = "Predicted seconds of each strategy with their range, and what the chosen one took."
    return Chart("candidates", "Predicted and actual time to train", described, spec)


def slices_chart(index: int, metric: str, slices: Sequence[GatedSlice]) -> Chart | None:
    """Returns candidate, baseline and gate of a metric on each slice, the worst first."""
    rows = [
        {
            "slice": part.row.slice,
            "candidate": number(part.row.candidate),
            "baseline": number(part.row.baseline),
            "gate": number(part.gate.bound(part.row.baseline)) if part.gate else None,
            "examples": part.row.examples,
            "result": "candidate, gate missed" if part.missed else "candidate",
        }
        for part in slices
    ]
    if len(rows) < 2:
        return None
    rows = [rows[0], *sorted(rows[1:], key=_by_margin)[: MOST_SLICES - 1]]
    names = {
        "candidate": "$series0",
        **({"candidate, gate missed": "$bad"} if any(part.missed for part in slices) else {}),
        **({"baseline": "$muted"} if any(row["baseline"] is not None for row in rows) else {}),
        **({"gate": "$warn"} if any(row["gate"] is not None for row in rows) else {}),
    }
    color = {
        "type": "nominal",
        "title": None,
        "scale": {"domain": list(names), "range": list(names.values())},
    }
    scale = {"zero": False, "nice": False, "padding": 8}
    x = {"type": "quantitative", "title": metric, "scale": scale, "axis": {"tickCount": 8}}
    tooltip = [
        {"field": "slice", "type": "nominal"},
        {"field": "examples", "type": "quantitative", "format": ",d"},
        *(
            {"field": name, "type": "quantitative", "format": ".4f"}
            for name in ("candidate", "baseline", "gate")
        ),
    ]
    layers: list[Spec] = [
        {
            "mark": {"type": "rule", "color": "$muted", "opacity": 0.6},
            "encoding": {"x": {"field": "baseline", **x}, "x2": {"field": "candidate"}},
        },
        {
            "mark": {"type": "tick", "thickness": 2, "size": 14},
            "encoding": {"x": {"field": "gate", **x}, "color": {"datum": "gate", **color}},
        },
        {
            "mark": {"type": "point", "filled": False, "size": 60, "strokeWidth": 1.5},
            "encoding": {"x": {"field": "baseline", **x}, "color": {"datum": "baseline", **color}},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
            "encoding": {"x": {"field": "candidate", **x}, "color": {"field": "result", **color}},
        },
    ]
    spec = {
        "height": _ROW_PX * len({row["slice"] for row in rows}),
        "data": {"values": rows},
        "encoding": {"y": _names("slice"), "tooltip": tooltip},
        "layer": [layer for layer in layers if _has(layer, names)],
    }
    described = f"{metric} on each slice: of the candidate, of the baseline, and the gate."
    return Chart(f"slices-{index}", metric, described, spec)


def versions_chart(versions: Sequence[Version], metric: str) -> Chart | None:
    """Returns the headline metric of the models of a pipeline over time, if there are two."""
    rows = [
        {
            "at": version.model.created.isoformat(),
            "value": number(version.value),
            "state": _state(version),
            "model": version.model.model.id,
            "pushed": ", ".join(push.version for push in version.model.pushes),
            "spans": ", ".join(map(str, version.model.spans)),
            "run": version.model.run_id,
            "here": version.here,
        }
        for version in versions
        if version.value is not None
    ]
    if len(rows) < 2:
        return None
    shown = {
        name: color for name, color in _STATES.items() if any(r["state"] == name for r in rows)
    }
    color = {
        "field": "state",
        "type": "nominal",
        "title": None,
        "scale": {"domain": list(shown), "range": list(shown.values())},
    }
    tooltip = [
        {"field": "model", "type": "nominal"},
        {"field": "value", "title": metric, "type": "quantitative", "format": ".4f"},
        *({"field": name, "type": "nominal"} for name in ("state", "pushed", "spans", "run")),
    ]
    spec = {
        "height": 200,
        "data": {"values": rows},
        "encoding": {
            "x": {"field": "at", "type": "temporal", "title": None, "axis": {"tickCount": 6}},
            "y": {
                "field": "value",
                "type": "quantitative",
                "title": metric,
                "scale": {"zero": False, "padding": 12},
            },
            "tooltip": tooltip,
        },
        "layer": [
            {"mark": {"type": "line", "color": "$muted", "strokeWidth": 1}},
            {
                "transform": [{"filter": "datum.here"}],
                "mark": {"type": "point", "filled": False, "size": 320, "color": "$ink"},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
                "encoding": {"color": color},
            },
        ],
    }
    described = f"{metric} of each model over time; the model of this run is ringed."
    return Chart("versions", f"{metric} of each model", described, spec)


def distribution_charts(facts: RunFacts) -> list[Chart]:
    """Returns the distributions of the features that changed most, split by split."""
    sets = feature_sets(facts)
    charts = []
    for drift in facts.data.drift:
        features = {
            name: found[drift.feature] for name, found in sets.items() if drift.feature in found
        }
        spec = _distribution(features)
        if spec is not None and len(charts) < MOST_FEATURES:
            described = f"Distribution of {drift.feature} in {', '.join(features)}."
            charts.append(Chart(f"feature-{len(charts)}", drift.feature, described, spec))
    return charts


def feature_sets(facts: RunFacts) -> Mapping[str, Mapping[str, Feature]]:
    """Returns the features by name, of each split and of the earlier data."""
    data = facts.data
    statistics = data.statistics if isinstance(data.statistics, tuple) else ()
    sets = {split.split: split for split in statistics}
    before = getattr(data.earlier, "statistics", ())
    same = next((s for s in before if statistics and s.split == statistics[0].split), None)
    if same is not None:
        sets["earlier data"] = same
    return {name: {f.name: f for f in split.features} for name, split in sets.items()}


def compared_slices_chart(
    index: int, metric: str, evaluations: Mapping[str, Evaluation], runs: Sequence[str]
) -> Chart | None:
    """Returns a metric on each slice, of several runs in the order of their colours."""
    rows = [
        {
            "slice": part.row.slice,
            "run": label,
            "value": number(part.row.candidate),
            "examples": part.row.examples,
        }
        for label, evaluation in evaluations.items()
        for part in evaluation.slices.get(metric, ())[:MOST_SLICES]
    ]
    if not rows:
        return None
    spec = {
        "height": _ROW_PX * len({row["slice"] for row in rows}),
        "data": {"values": rows},
        "encoding": {
            "y": _names("slice"),
            "x": {
                "field": "value",
                "type": "quantitative",
                "title": metric,
                "scale": {"zero": False, "nice": False, "padding": 8},
            },
            "color": {
                "field": "run",
                "type": "nominal",
                "title": None,
                "scale": {"domain": list(runs), "range": _series(runs)},
            },
            "tooltip": [
                {"field": "run", "type": "nominal"},
                {"field": "slice", "type": "nominal"},
                {"field": "value", "title": metric, "type": "quantitative", "format": ".4f"},
                {"field": "examples", "type": "quantitative", "format": ",d"},
            ],
        },
        "mark": {"type": "point", "filled": True, "size": 80, "opacity": 0.9},
    }
    return Chart(f"slices-{index}", metric, f"{metric} on each slice, of every run.", spec)


def _distribution(features: Mapping[str, Feature]) -> Spec | None:
    numbers = all(any(b.high > b.low for b in f.buckets) for f in features.values())
    if numbers:
        return _density(features)
    return _shares(features) if all(f.shares for f in features.values()) else None


def _density(features: Mapping[str, Feature]) -> Spec:
    """Share per unit of the value: sets differ in the width of their buckets."""
    rows: Rows = []
    for name, feature in features.items():
        wide = [b for b in feature.buckets if b.high > b.low]
        rows += [{"set": name, "x": b.low, "y": b.share / (b.high - b.low)} for b in wide]
        rows.append({"set": name, "x": wide[-1].high, "y": rows[-1]["y"]})
    return {
        "height": 110,
        "data": {"values": rows},
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 1.5},
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "title": None, "scale": {"zero": False}},
            "y": {
                "field": "y",
                "type": "quantitative",
                "title": "density",
                "axis": {"tickCount": 3, "format": "~g"},
            },
            "color": _of_set(features),
        },
    }


def _shares(features: Mapping[str, Feature]) -> Spec:
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
    return {
        "height": 8 * len(rows),
        "data": {"values": rows},
        "mark": {"type": "bar", "tooltip": True},
        "encoding": {
            "y": {"field": "value", "type": "nominal", "title": None, "sort": None},
            "yOffset": {"field": "set", "sort": None},
            "x": {
                "field": "share",
                "type": "quantitative",
                "title": "share",
                "axis": {"format": "%", "tickCount": 4},
            },
            "color": _of_set(features),
        },
    }


def _of_set(sets: Iterable[str]) -> Spec:
    names = list(sets)
    return {
        "field": "set",
        "type": "nominal",
        "title": None,
        "scale": {"domain": names, "range": _series(names)},
    }


def _series(names: Sequence[str]) -> list[str]:
    return [f"$series{index}" for index in range(len(names))]


def _names(field: str) -> Spec:
    axis = {"labelLimit": 150, "ticks": False, "domain": False, "grid": True}
    return {"field": field, "type": "nominal", "title": None, "sort": None, "axis": axis}


def _by_margin(row: Mapping[str, float | None]) -> tuple[float, ...]:
    value = row["candidate"]
    return (float("-inf") if value is None else value,)


def _state(version: Version) -> str:
    model = version.model
    if model.withdrawn:
        return "withdrawn"
    if model.pushes:
        return "pushed"
    return {True: "blessed", False: "not blessed", None: "not evaluated"}[model.blessed]


def _has(layer: Spec, names: Mapping[str, str]) -> bool:
    """Whether a layer has anything to draw."""
    color = layer["encoding"].get("color", {})
    return color.get("datum", "candidate") in names and (
        layer["mark"]["type"] != "rule" or "baseline" in names
    )
