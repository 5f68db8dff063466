"""Charts of metrics by slice."""

from collections.abc import Mapping, Sequence
from typing import Any

from tfx_feeder.pipeline.report.charts.base import (
    Rows,
    Spec,
    VegaChart,
    category_axis,
    color_channel,
    finite,
    series,
    tooltip,
)
from tfx_feeder.pipeline.report.facts import EvaluationFacts, GatedSlice

MAX_SLICES_DRAWN = 40
"""Maximum number of drawn slices, worst first."""
_ROW_PX = 24
_MISSED = "candidate, threshold missed"


def slices_chart(index: int, metric: str, slices: Sequence[GatedSlice]) -> VegaChart | None:
    """Returns candidate, baseline and threshold of a metric on each slice, worst first.

    Returns ``None`` if there is no slice besides all examples.

    Args:
        index: Index of the chart on the page.
        metric: Name of the metric.
        slices: Slices; the first one is all examples.
    """
    if len(slices) < 2:
        return None
    rows = [_row(part) for part in slices]
    rows = [rows[0], *sorted(rows[1:], key=_worst_first)[: MAX_SLICES_DRAWN - 1]]
    names = {"candidate": "$series0"}
    names |= {_MISSED: "$bad"} if any(row["result"] == _MISSED for row in rows) else {}
    names |= {"baseline": "$muted"} if _occurs("baseline", rows) else {}
    names |= {"threshold": "$warn"} if _occurs("threshold", rows) else {}
    figures = [tooltip(name, ".4f") for name in ("candidate", "baseline", "threshold")]
    spec = {
        "height": _ROW_PX * len(rows),
        "data": {"values": rows},
        "encoding": {
            "y": category_axis("slice"),
            "tooltip": [tooltip("slice"), tooltip("examples", ",d"), *figures],
        },
        "layer": _layers(_x(metric), names),
    }
    description = f"{metric} of candidate and baseline on each slice, with the threshold."
    return VegaChart(f"slices-{index}", metric, description, spec)


def compared_slices_chart(
    index: int, metric: str, evaluations: Mapping[str, EvaluationFacts], runs: Sequence[str]
) -> VegaChart | None:
    """Returns a metric of several runs on each slice; ``None`` without evaluations.

    Args:
        index: Index of the chart on the page.
        metric: Name of the metric.
        evaluations: Evaluations by run label.
        runs: Labels of all runs in color order.
    """
    rows = [
        {
            "slice": part.row.slice,
            "run": label,
            "value": finite(part.row.candidate),
            "examples": part.row.examples,
        }
        for label, evaluation in evaluations.items()
        for part in evaluation.slices.get(metric, ())[:MAX_SLICES_DRAWN]
    ]
    if not rows:
        return None
    spec = {
        "height": _ROW_PX * len({row["slice"] for row in rows}),
        "data": {"values": rows},
        "encoding": {
            "y": category_axis("slice"),
            "x": {"field": "value", **_x(metric)},
            "color": {"field": "run", **color_channel(series(runs))},
            "tooltip": [
                tooltip("run"),
                tooltip("slice"),
                tooltip("value", ".4f", metric),
                tooltip("examples", ",d"),
            ],
        },
        "mark": {"type": "point", "filled": True, "size": 80, "opacity": 0.9},
    }
    return VegaChart(f"slices-{index}", metric, f"{metric} on each slice, of every run.", spec)


def _row(part: GatedSlice) -> dict[str, Any]:
    row = part.row
    return {
        "slice": row.slice,
        "candidate": finite(row.candidate),
        "baseline": finite(row.baseline),
        "threshold": finite(part.gate.bound(row.baseline)) if part.gate else None,
        "examples": row.examples,
        "result": _MISSED if part.missed else "candidate",
    }


def _layers(x: Spec, names: Mapping[str, str]) -> list[Spec]:
    color = color_channel(names)
    layers: list[Spec] = []
    if "baseline" in names:
        between = {"x": {"field": "baseline", **x}, "x2": {"field": "candidate"}}
        mark: Spec = {"type": "rule", "color": "$muted", "opacity": 0.6}
        layers.append({"mark": mark, "encoding": between})
    for name, mark in (
        ("threshold", {"type": "tick", "thickness": 2, "size": 14}),
        ("baseline", {"type": "point", "filled": False, "size": 60, "strokeWidth": 1.5}),
    ):
        if name in names:
            shown = {"x": {"field": name, **x}, "color": {"datum": name, **color}}
            layers.append({"mark": mark, "encoding": shown})
    candidate = {"x": {"field": "candidate", **x}, "color": {"field": "result", **color}}
    mark = {"type": "point", "filled": True, "size": 70}
    return [*layers, {"mark": mark, "encoding": candidate}]


def _x(metric: str) -> Spec:
    scale = {"zero": False, "nice": False, "padding": 8}
    return {"type": "quantitative", "title": metric, "scale": scale, "axis": {"tickCount": 8}}


def _occurs(name: str, rows: Rows) -> bool:
    return any(row[name] is not None for row in rows)


def _worst_first(row: Mapping[str, Any]) -> float:
    return float("-inf") if row["candidate"] is None else row["candidate"]
