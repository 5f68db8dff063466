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
from tfx_feeder.schemas.gate_report import PASSED, REFUSED, SKIPPED, UNDECIDED

MAX_SLICES_DRAWN = 40
"""Maximum number of drawn slices, worst first."""
_ROW_PX = 24
_MISSED = "candidate, threshold missed"
_DECISIONS = {
    REFUSED: ("refused", "$bad"),
    UNDECIDED: ("undecided", "$warn"),
    PASSED: ("passed", "$series0"),
    "": ("not judged", "$muted"),
    SKIPPED: ("not judged", "$muted"),
}
"""Label and color by verdict."""


def slices_chart(index: int, metric: str, slices: Sequence[GatedSlice]) -> VegaChart | None:
    """Returns candidate, baseline and threshold of a metric on each slice.

    The slices are in the order of the gate, or else worst first.

    Returns ``None`` if there is no slice besides all examples.

    Args:
        index: Index of the chart on the page.
        metric: Name of the metric.
        slices: Slices; the first one is all examples.
    """
    if len(slices) < 2:
        return None
    rows = _rows(slices)
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
            "tooltip": [tooltip("slice"), tooltip("examples", ",d"), *figures, tooltip("verdict")],
        },
        "layer": _layers(_x(metric), names, with_intervals=_occurs("candidate_low", rows)),
    }
    description = f"{metric} of candidate and baseline on each slice, with the threshold."
    return VegaChart(f"slices-{index}", metric, description, spec)


def differences_chart(index: int, metric: str, slices: Sequence[GatedSlice]) -> VegaChart | None:
    """Returns the differences from the baseline with their intervals and the margins.

    Returns ``None`` if there are no intervals.

    Args:
        index: Index of the chart on the page.
        metric: Name of the metric.
        slices: Slices; the first one is all examples.
    """
    rows = [row for row in _rows(slices) if row["low"] is not None]
    if not rows:
        return None
    found = {row["decision"] for row in rows}
    names = dict(pair for pair in _DECISIONS.values() if pair[0] in found)
    names |= {"margin": "$warn"} if _occurs("margin", rows) else {}
    color = color_channel(names)
    title = f"{metric}: candidate minus baseline"
    x = _x(title)
    zero: Spec = {
        "data": {"values": [{}]},
        "mark": {"type": "rule", "color": "$muted", "strokeDash": [4, 4]},
        "encoding": {"x": {"datum": 0, **x}},
    }
    y = category_axis("slice")
    shared = {
        "y": y,
        "color": {"field": "decision", **color},
        "tooltip": [
            tooltip("slice"),
            tooltip("examples", ",d"),
            *(tooltip(name, "+.4f") for name in ("difference", "low", "high", "margin")),
            tooltip("verdict"),
        ],
    }
    interval = {"x": {"field": "low", **x}, "x2": {"field": "high"}, **shared}
    layers: list[Spec] = [
        zero,
        {"mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.6}, "encoding": interval},
        {
            "mark": {"type": "point", "filled": True, "size": 60},
            "encoding": {"x": {"field": "difference", **x}, **shared},
        },
    ]
    if _occurs("margin", rows):
        layers.append(
            {
                "mark": {"type": "tick", "thickness": 2, "size": 14},
                "encoding": {
                    "x": {"field": "margin", **x},
                    "y": y,
                    "color": {"datum": "margin", **color},
                },
            }
        )
    spec = {"height": _ROW_PX * len(rows), "data": {"values": rows}, "layer": layers}
    description = f"Difference of {metric} on each slice, with 95 % intervals and margins."
    return VegaChart(f"differences-{index}", title, description, spec)


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


def _rows(slices: Sequence[GatedSlice]) -> Rows:
    first, *others = slices
    if not first.result:
        others.sort(key=_worst_first)
    return [_row(part) for part in (first, *others[: MAX_SLICES_DRAWN - 1])]


def _row(part: GatedSlice) -> dict[str, Any]:
    row, result = part.row, part.result
    change = part.gate.change if part.gate else None
    return {
        "slice": row.slice,
        "candidate": finite(row.candidate),
        "baseline": finite(row.baseline),
        "threshold": finite(part.gate.bound(row.baseline)) if part.gate else None,
        "examples": row.examples,
        "result": _MISSED if part.missed else "candidate",
        "verdict": part.verdict,
        "decision": _DECISIONS.get(part.verdict, _DECISIONS[""])[0],
        "candidate_low": finite(result.candidate_low) if result else None,
        "candidate_high": finite(result.candidate_high) if result else None,
        "difference": finite(part.change),
        "low": finite(result.low) if result else None,
        "high": finite(result.high) if result else None,
        "margin": finite(change),
    }


def _layers(x: Spec, names: Mapping[str, str], *, with_intervals: bool) -> list[Spec]:
    color = color_channel(names)
    layers: list[Spec] = []
    if with_intervals:
        interval = {"x": {"field": "candidate_low", **x}, "x2": {"field": "candidate_high"}}
        mark: Spec = {"type": "rule", "strokeWidth": 5, "opacity": 0.2}
        shown = {**interval, "color": {"field": "result", **color}}
        layers.append({"mark": mark, "encoding": shown})
    if "baseline" in names:
        between = {"x": {"field": "baseline", **x}, "x2": {"field": "candidate"}}
        mark = {"type": "rule", "color": "$muted", "opacity": 0.6}
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


def _worst_first(part: GatedSlice) -> float:
    value = finite(part.row.candidate)
    return float("-inf") if value is None else value
