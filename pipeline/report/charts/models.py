"""Charts of strategy candidates and of model versions."""

from collections.abc import Sequence

from tfx_feeder.pipeline.report.charts.base import (
    VegaChart,
    category_axis,
    color_channel,
    finite,
    tooltip,
)
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
_EVALUATION = {True: "blessed", False: "not blessed", None: "not evaluated"}


def candidates_chart(candidates: Sequence[CandidateRecord]) -> VegaChart | None:
    """Returns the predicted and actual training times of the strategies."""
    rows = [
        {
            "strategy": row.strategy,
            "status": row.verdict,
            "predicted": finite(row.predicted_s),
            "low": finite(row.low_s),
            "high": finite(row.high_s),
            "actual": finite(row.actual_s),
        }
        for row in candidates
        if row.predicted_s is not None
    ]
    if not rows:
        return None
    color = color_channel({"predicted, with range": "$series0", "actual": "$series3"})
    predicted, actual = ({"datum": name, **color} for name in color["scale"]["domain"])
    x = {"type": "quantitative", "title": "seconds", "scale": {"zero": True}}
    seconds = [tooltip(n, ".4~g", f"{n}, s") for n in ("predicted", "low", "high", "actual")]
    spread = {"x": {"field": "low", **x}, "x2": {"field": "high"}, "color": predicted}
    spec = {
        "height": _ROW_PX * len(rows),
        "data": {"values": rows},
        "encoding": {
            "y": category_axis("strategy"),
            "tooltip": [tooltip("strategy"), tooltip("status"), *seconds],
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
                "encoding": {"x": {"field": "actual", **x}, "color": actual},
            },
        ],
    }
    description = (
        "Predicted seconds of each strategy with range, and actual seconds of the selected one."
    )
    return VegaChart("candidates", "Predicted and actual time to train", description, spec)


def versions_chart(versions: Sequence[ServedVersion], metric: str) -> VegaChart | None:
    """Returns a metric of the pipeline's models over time; ``None`` for fewer than two models.

    Args:
        versions: Models with their metric, oldest first.
        metric: Name of the metric.
    """
    rows = [
        {
            "at": version.model.created_at.isoformat(),
            "value": finite(version.value),
            "state": _state(version),
            "model": version.model.model.id,
            "pushed": ", ".join(push.version for push in version.model.pushes),
            "spans": ", ".join(map(str, version.model.spans)),
            "run": version.model.run_id,
            "is_current": version.is_current,
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
                "transform": [{"filter": "datum.is_current"}],
                "mark": {"type": "point", "filled": False, "size": 320, "color": "$ink"},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 110},
                "encoding": {"color": {"field": "state", **color_channel(shown)}},
            },
        ],
    }
    description = f"{metric} of each model over time; a ring marks the model of this run."
    return VegaChart("versions", f"{metric} of each model", description, spec)


def _state(version: ServedVersion) -> str:
    model = version.model
    if model.withdrawn:
        return "withdrawn"
    return "pushed" if model.pushes else _EVALUATION[model.blessed]
