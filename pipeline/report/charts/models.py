"""Charts of strategies and of versions."""

from collections.abc import Sequence

from tfx_feeder.pipeline.report.charts.base import VegaChart, colors, names_axis, number, tooltip
from tfx_feeder.pipeline.report.facts import ServedVersion
from tfx_feeder.schemas.training_history import CandidateRecord

_ROW_PX = 34
_STATES = {
    "pushed": "$ok",
    "blessed": "$series0",
    "not blessed": "$bad",
    "withdrawn": "$warn",
    "not evaluated": "$muted",
}
_JUDGED = {True: "blessed", False: "not blessed", None: "not evaluated"}


def candidates_chart(candidates: Sequence[CandidateRecord]) -> VegaChart | None:
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
    color = colors({"predicted, with its range": "$series0", "took": "$series3"})
    predicted, took = ({"datum": name, **color} for name in color["scale"]["domain"])
    x = {"type": "quantitative", "title": "seconds", "scale": {"zero": True}}
    seconds = [tooltip(n, ".4~g", f"{n}, s") for n in ("predicted", "low", "high", "took")]
    spread = {"x": {"field": "low", **x}, "x2": {"field": "high"}, "color": predicted}
    spec = {
        "height": _ROW_PX * len(rows),
        "data": {"values": rows},
        "encoding": {
            "y": names_axis("strategy"),
            "tooltip": [tooltip("strategy"), tooltip("verdict"), *seconds],
        },
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 6, "opacity": 0.35, "strokeCap": "round"},
                "encoding": spread,
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
    return VegaChart("candidates", "Predicted and actual time to train", described, spec)


def versions_chart(versions: Sequence[ServedVersion], metric: str) -> VegaChart | None:
    """Returns the headline metric of the models of a pipeline over time, if there are two."""
    rows = [
        {
            "at": version.model.created_at.isoformat(),
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
    occurring = {row["state"] for row in rows}
    shown = {name: color for name, color in _STATES.items() if name in occurring}
    y = {"type": "quantitative", "title": metric, "scale": {"zero": False, "padding": 12}}
    spec = {
        "height": 200,
        "data": {"values": rows},
        "encoding": {
            "x": {"field": "at", "type": "temporal", "title": None, "axis": {"tickCount": 6}},
            "y": {"field": "value", **y},
            "tooltip": [
                tooltip("model"),
                tooltip("value", ".4f", metric),
                *map(tooltip, ("state", "pushed", "spans", "run")),
            ],
        },
        "layer": [
            {"mark": {"type": "line", "color": "$muted", "strokeWidth": 1}},
            {
                "transform": [{"filter": "datum.here"}],
                "mark": {"type": "point", "filled": False, "size": 320, "color": "$ink"},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 110},
                "encoding": {"color": {"field": "state", **colors(shown)}},
            },
        ],
    }
    described = f"{metric} of each model over time; the model of this run is ringed."
    return VegaChart("versions", f"{metric} of each model", described, spec)


def _state(version: ServedVersion) -> str:
    model = version.model
    if model.withdrawn:
        return "withdrawn"
    return "pushed" if model.pushes else _JUDGED[model.blessed]
