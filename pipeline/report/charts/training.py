"""Charts of one training: what was learned, at which rate and batch, how fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tfx_feeder.pipeline.report.charts.axes import (
    EXAMPLES_SEEN,
    MOST_DOTS,
    settings_axis,
    stacked,
    upright,
)
from tfx_feeder.pipeline.report.charts.base import Spec, VegaChart, colors, hover_selection, tooltip
from tfx_feeder.pipeline.report.charts.rows import VALIDATION, metric_names
from tfx_feeder.schemas.training_history import History

_FAR = 4
"""Multiple of the throughput from which on a ceiling is told in the table only."""
_FROM_ZERO = upright({"zero": True})


@dataclass(frozen=True, slots=True)
class Curve:
    """A quantity over the training.

    Args:
        field: Column of the rows.
        label: In legends and tooltips.
        color: Its name.
        style: ``line``, ``dash``, ``area``; ``steps`` from ``setting_rows``; ``stretch`` from
            ``phase_rows``.
    """

    field: str
    label: str
    color: str
    style: str = "line"


def training_charts(history: History) -> list[VegaChart]:
    """Returns metrics, learning rate and batch size; data: ``epochs``, ``settings``, ``phases``."""
    draw = partial(_over_phases, dots=len(history.epochs) <= MOST_DOTS)
    charts = []
    for index, name in enumerate(metric_names([history])):
        curves = [Curve(f"m{index}", "training", "$series0", "dash")]
        if any(VALIDATION + name in row.metrics for row in history.epochs):
            curves.append(Curve(f"v{index}", "validation", "$series1"))
        described = f"{name} of training and validation over the examples seen."
        spec = draw(curves, height=190, y=upright(), named=not charts)
        charts.append(VegaChart(f"metric-{index}", name, described, spec))
    rate = [Curve("rate", "learning rate", "$series2", "steps")]
    rates = settings_axis([row.learning_rate for row in history.epochs])
    batch, title = [Curve("batch", "batch size", "$series2", "steps")], "Batch size"
    sizes: list[float] = [row.global_batch_size for row in history.epochs]
    noise = [row.noise_scale for row in history.epochs if row.noise_scale is not None]
    if noise:
        batch.append(Curve("noise", "gradient noise scale", "$series3", "dash"))
        title = "Batch size and gradient noise scale"
    settings = (
        ("rate", "Learning rate", draw(rate, height=90, y=rates)),
        ("batch", title, draw(batch, height=110, y=settings_axis([*sizes, *noise]))),
    )
    charts += [
        VegaChart(id, name, f"{name} over the examples seen.", s) for id, name, s in settings
    ]
    return stacked(charts)


def speed_charts(history: History) -> list[VegaChart]:
    """Returns throughput, waits and step times; data: ``epochs``, ``phases``."""
    draw = partial(_over_phases, dots=len(history.epochs) <= MOST_DOTS)
    speed = [Curve("speed", "reached", "$series0"), *_ceilings(history)]
    wait = [Curve("wait", "waited", "$series3", "area")]
    step = [Curve("p50", "median", "$series0"), Curve("p95", "95th percentile", "$series1", "dash")]
    most_waited = max((row.input_wait_pct for row in history.epochs), default=0)
    percent = upright({"zero": True, "domainMax": max(10, most_waited)})
    charts = (
        (
            "speed",
            "Examples per second",
            "Throughput over the examples seen, with the ceilings that were measured.",
            draw(speed, height=150, y=_FROM_ZERO, named=True),
        ),
        (
            "wait",
            "Waiting for input, percent of the time",
            "Share of the time in which the step waited for its batch.",
            draw(wait, height=90, y=percent),
        ),
        (
            "step",
            "Step time, ms",
            "Median and 95th percentile of the time of a step.",
            draw(step, height=110, y=_FROM_ZERO),
        ),
    )
    return stacked([VegaChart(*chart) for chart in charts])


def _ceilings(history: History) -> list[Curve]:
    """What could have been reached; next to what is far away, the rest would be a flat line."""
    fastest = max((row.examples_per_s for row in history.epochs), default=0.0)
    measured = {
        Curve("device", "the device could", "$series3", "stretch"): [
            phase.device_ceiling for phase in history.phases if phase.device_ceiling
        ],
        Curve("input", "the feed could", "$series2", "stretch"): [
            phase.input_ceiling for phase in history.phases if phase.input_ceiling
        ],
    }
    return [curve for curve, found in measured.items() if found and max(found) < _FAR * fastest]


def _over_phases(
    curves: Sequence[Curve], *, height: int, y: Spec, dots: bool, named: bool = False
) -> Spec:
    """Curves over the examples seen, every second phase shaded; numbered where wanted."""
    palette = {curve.label: curve.color for curve in curves}
    color = colors(palette) | ({} if len(curves) > 1 else {"legend": None})
    layers = [
        _shades(),
        *([_numbers()] if named else []),
        *(_line(curve, {"datum": curve.label, **color}, dots) for curve in curves),
        _hover(curves),
    ]
    return {"height": height, "encoding": {"x": EXAMPLES_SEEN, "y": y}, "layer": layers}


def _shades() -> Spec:
    second = {"condition": {"test": "datum.phase % 2 == 0", "value": 1}, "value": 0}
    return {
        "data": {"name": "phases"},
        "mark": {"type": "rect", "color": "$phase", "tooltip": None},
        "encoding": {
            "x": {"field": "begin", "type": "quantitative"},
            "x2": {"field": "end"},
            "opacity": second,
        },
    }


def _numbers() -> Spec:
    return {
        "data": {"name": "phases"},
        "mark": {"type": "text", "align": "left", "baseline": "top", "dx": 5, "dy": 4},
        "encoding": {
            "x": {"field": "begin", "type": "quantitative"},
            "y": {"value": 0},
            "text": {"field": "label"},
            "color": {"value": "$muted"},
        },
    }


def _line(curve: Curve, color: Spec, dots: bool) -> Spec:
    encoding: Spec = {"y": {"field": curve.field}, "color": color}
    if curve.style == "stretch":
        stretch = {"x": {"field": "begin"}, "x2": {"field": "end"}}
        mark = {"type": "rule", "strokeDash": [2, 2], "strokeWidth": 1.5}
        return {"data": {"name": "phases"}, "mark": mark, "encoding": encoding | stretch}
    if curve.style == "steps":
        mark = {"type": "line", "interpolate": "step-after"}
        return {"data": {"name": "settings"}, "mark": mark, "encoding": encoding}
    marks: dict[str, Spec] = {
        "line": {"type": "line"},
        "dash": {"type": "line", "strokeDash": [5, 3]},
        "area": {"type": "area", "line": True, "fillOpacity": 0.25},
    }
    mark = marks[curve.style] | ({"point": {"size": 24}} if dots else {})
    return {"data": {"name": "epochs"}, "mark": mark, "encoding": encoding}


def _hover(curves: Sequence[Curve]) -> Spec:
    """A line at the nearest epoch, with everything about it."""
    shown = hover_selection(0.7, fields=("x",))
    values = [tooltip(c.field, ".4~g", c.label) for c in curves if c.style != "stretch"]
    place = [tooltip("epoch", ",d"), tooltip("phase", ",d"), tooltip("x", ",d", "examples seen")]
    whole = {"y": {"value": 0}, "y2": {"value": "height"}, "tooltip": [*place, *values]}
    return {
        "data": {"name": "epochs"},
        "params": shown["params"],
        "mark": {"type": "rule", "color": "$muted"},
        "encoding": shown["encoding"] | whole,
    }
