"""Charts of a training: metrics, learning rate, batch size and throughput."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tfx_feeder.pipeline.report.charts.axes import (
    EXAMPLES_SEEN,
    MAX_DOTS,
    settings_axis,
    stack,
    value_axis,
)
from tfx_feeder.pipeline.report.charts.base import (
    Spec,
    VegaChart,
    color_channel,
    hover_selection,
    tooltip,
)
from tfx_feeder.pipeline.report.charts.rows import VALIDATION, metric_names
from tfx_feeder.schemas.training_history import History

_MAX_BOUND_RATIO = 4
"""Bounds above this multiple of the throughput appear only in the table."""
_FROM_ZERO = value_axis({"zero": True})


@dataclass(frozen=True, slots=True)
class Curve:
    """Quantity over the course of a training.

    Args:
        field: Column of the rows.
        label: Label in legends and tooltips.
        color: Color name.
        style: ``line``, ``dash``, ``area``, ``steps`` (data of ``setting_rows``) or ``interval``
            (data of ``phase_rows``).
    """

    field: str
    label: str
    color: str
    style: str = "line"


def training_charts(history: History) -> list[VegaChart]:
    """Returns charts of metrics, learning rate and batch size.

    The charts use the data sets ``epochs``, ``settings`` and ``phases``.
    """
    draw = partial(_over_phases, dots=len(history.epochs) <= MAX_DOTS)
    charts = []
    for index, name in enumerate(metric_names([history])):
        curves = [Curve(f"m{index}", "training", "$series0", "dash")]
        if any(VALIDATION + name in row.metrics for row in history.epochs):
            curves.append(Curve(f"v{index}", "validation", "$series1"))
        description = f"{name} of training and validation over the examples seen."
        spec = draw(curves, height=190, y=value_axis(), numbered=not charts)
        charts.append(VegaChart(f"metric-{index}", name, description, spec))
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
    return stack(charts)


def speed_charts(history: History) -> list[VegaChart]:
    """Returns charts of throughput, input wait and step time.

    The charts use the data sets ``epochs`` and ``phases``.
    """
    draw = partial(_over_phases, dots=len(history.epochs) <= MAX_DOTS)
    speed = [Curve("speed", "actual", "$series0"), *_bounds(history)]
    wait = [Curve("wait", "input wait", "$series3", "area")]
    step = [Curve("p50", "median", "$series0"), Curve("p95", "95th percentile", "$series1", "dash")]
    largest_wait = max((row.input_wait_pct for row in history.epochs), default=0)
    percent = value_axis({"zero": True, "domainMax": max(10, largest_wait)})
    charts = (
        (
            "speed",
            "Examples per second",
            "Throughput over the examples seen, with the measured bounds.",
            draw(speed, height=150, y=_FROM_ZERO, numbered=True),
        ),
        (
            "wait",
            "Input wait, % of time",
            "Percentage of time that steps waited for input.",
            draw(wait, height=90, y=percent),
        ),
        (
            "step",
            "Step time, ms",
            "Median and 95th percentile of the step time.",
            draw(step, height=110, y=_FROM_ZERO),
        ),
    )
    return stack([VegaChart(*chart) for chart in charts])


def _bounds(history: History) -> list[Curve]:
    """Returns the throughput bounds; distant ones would flatten the other curves."""
    fastest = max((row.examples_per_s for row in history.epochs), default=0.0)
    measured = {
        Curve("device", "device limit", "$series3", "interval"): [
            phase.device_ceiling for phase in history.phases if phase.device_ceiling
        ],
        Curve("input", "input limit", "$series2", "interval"): [
            phase.input_ceiling for phase in history.phases if phase.input_ceiling
        ],
    }
    return [
        curve
        for curve, found in measured.items()
        if found and max(found) < _MAX_BOUND_RATIO * fastest
    ]


def _over_phases(
    curves: Sequence[Curve], *, height: int, y: Spec, dots: bool, numbered: bool = False
) -> Spec:
    """Draws curves over the examples seen with every second phase shaded."""
    palette = {curve.label: curve.color for curve in curves}
    color = color_channel(palette) | ({} if len(curves) > 1 else {"legend": None})
    layers = [
        _shades(),
        *([_numbers()] if numbered else []),
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
    if curve.style == "interval":
        interval = {"x": {"field": "begin"}, "x2": {"field": "end"}}
        mark = {"type": "rule", "strokeDash": [2, 2], "strokeWidth": 1.5}
        return {"data": {"name": "phases"}, "mark": mark, "encoding": encoding | interval}
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
    """Draws a line at the nearest epoch with a tooltip of all values."""
    hover = hover_selection(0.7, fields=("x",))
    values = [tooltip(c.field, ".4~g", c.label) for c in curves if c.style != "interval"]
    place = [tooltip("epoch", ",d"), tooltip("phase", ",d"), tooltip("x", ",d", "examples seen")]
    whole = {"y": {"value": 0}, "y2": {"value": "height"}, "tooltip": [*place, *values]}
    return {
        "data": {"name": "epochs"},
        "params": hover["params"],
        "mark": {"type": "rule", "color": "$muted"},
        "encoding": hover["encoding"] | whole,
    }
