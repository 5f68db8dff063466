"""Charts of trainings, as Vega-Lite: what was learned, at which rate and batch, how fast.

Colours are names such as ``$series0``; the page puts those of its theme in their place.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from tfx_feeder.schemas.training_history import History

MOST_POINTS = 1_000
"""Epochs that are drawn; of longer trainings, some in even distances."""
VALIDATION = "val_"
_FEW = 8
"""Different values up to which each has its mark on an axis."""
_FAR = 4
"""Multiple of the throughput from which on a ceiling is told in the table only."""
_MOST_DOTS = 40
"""Epochs up to which each has a dot; a single one would be no line at all."""
_AXIS_PX = 56
"""Room for the labels of every y axis, so that the charts stand below each other."""

T = TypeVar("T")
Rows = list[dict[str, Any]]
Spec = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart.

    Args:
        id: Names it in the page.
        title: Above it.
        description: For those who do not see it.
        spec: Vega-Lite, without data sets and theme.
    """

    id: str
    title: str
    description: str
    spec: Spec


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


def number(value: float | None) -> float | None:
    """Returns a number that JSON can hold; ``None`` for infinities and NaN."""
    return value if value is not None and math.isfinite(value) else None


def metric_names(histories: Sequence[History]) -> list[str]:
    """Returns the metrics of trainings without those of the validation, the loss first."""
    names = {
        name.removeprefix(VALIDATION): None
        for history in histories
        for row in history.epochs
        for name in row.metrics
    }
    return sorted(names, key=lambda name: name != "loss")


def thinned(rows: Sequence[T], most: int = MOST_POINTS) -> list[T]:
    """Returns some of the rows in even distances, the last one always."""
    step = math.ceil(len(rows) / most) or 1
    return [*rows[:-1:step], *rows[-1:]]


def epoch_rows(
    history: History, metrics: Sequence[str], run: str = "", most: int = MOST_POINTS
) -> Rows:
    """Returns the epochs as rows of a data set.

    Args:
        history: Of the training.
        metrics: Names that the columns ``m0``, ``m1`` stand for; ``v0`` are of the validation.
        run: Label of the run.
        most: Rows at most, about.
    """
    rows = []
    for epoch in thinned(history.epochs, most):
        row = {
            "run": run,
            "x": epoch.examples_seen,
            "epoch": epoch.epoch + 1,
            "phase": epoch.phase + 1,
            "rate": number(epoch.learning_rate),
            "batch": epoch.global_batch_size,
            "noise": number(epoch.noise_scale),
            "speed": number(epoch.examples_per_s),
            "wait": number(epoch.input_wait_pct),
            "p50": number(epoch.step_ms_p50),
            "p95": number(epoch.step_ms_p95),
        }
        for index, name in enumerate(metrics):
            row[f"m{index}"] = number(epoch.metrics.get(name))
            row[f"v{index}"] = number(epoch.metrics.get(VALIDATION + name))
        rows.append(row)
    return rows


def setting_rows(history: History, run: str = "", most: int = MOST_POINTS) -> Rows:
    """Returns where learning rate or batch size changed, and to what."""
    rows: Rows = []
    begin, before = 0, None
    for epoch in history.epochs:
        setting = {"rate": number(epoch.learning_rate), "batch": epoch.global_batch_size}
        if setting != before:
            rows.append({"run": run, "epoch": epoch.epoch + 1, "x": begin, **setting})
        begin, before = epoch.examples_seen, setting
    return [*thinned(rows, most), {**rows[-1], "x": begin}] if rows else []


def phase_rows(history: History) -> Rows:
    """Returns the phases as stretches of the axis; those that are long enough have a label."""
    rows, begin = [], 0
    whole = sum(phase.examples for phase in history.phases)
    for phase in history.phases:
        end = begin + phase.examples
        rows.append(
            {
                "phase": phase.phase + 1,
                "label": f"{phase.phase + 1}" if phase.examples > whole / 30 else "",
                "begin": begin,
                "end": end,
                "reason": phase.reason,
                "batch": phase.global_batch_size,
                "rate": number(phase.learning_rate),
                "device": number(phase.device_ceiling),
                "input": number(phase.input_ceiling),
            }
        )
        begin = end
    return rows


def training_charts(history: History) -> list[Chart]:
    """Returns the curves of one training; data: ``epochs``, ``settings``, ``phases``."""
    draw = partial(_over_phases, dots=len(history.epochs) <= _MOST_DOTS)
    charts = []
    for index, name in enumerate(metric_names([history])):
        curves = [Curve(f"m{index}", "training", "$series0", "dash")]
        if any(VALIDATION + name in row.metrics for row in history.epochs):
            curves.append(Curve(f"v{index}", "validation", "$series1"))
        described = f"{name} of training and validation over the examples seen."
        spec = draw(curves, height=190, named=not charts)
        charts.append(Chart(f"metric-{index}", name, described, spec))
    rate = [Curve("rate", "learning rate", "$series2", "steps")]
    batch = [Curve("batch", "batch size", "$series2", "steps")]
    title = "Batch size"
    if any(row.noise_scale is not None for row in history.epochs):
        title = "Batch size and gradient noise scale"
        batch.append(Curve("noise", "gradient noise scale", "$series3", "dash"))
    rates = _settings_axis([row.learning_rate for row in history.epochs])
    batches = _settings_axis([row.global_batch_size for row in history.epochs])
    return _stacked(
        [
            *charts,
            Chart(
                "rate",
                "Learning rate",
                "Learning rate over the examples seen.",
                draw(rate, height=90, **rates),
            ),
            Chart(
                "batch",
                title,
                f"{title} over the examples seen.",
                draw(batch, height=110, **batches),
            ),
        ]
    )


def speed_charts(history: History) -> list[Chart]:
    """Returns throughput, waits and step times; data: ``epochs``, ``phases``."""
    draw = partial(_over_phases, dots=len(history.epochs) <= _MOST_DOTS)
    fastest = max((row.examples_per_s for row in history.epochs), default=0.0)
    speed = [Curve("speed", "reached", "$series0")]
    ceilings = (
        (Curve("device", "the device could", "$series3", "stretch"), "device_ceiling"),
        (Curve("input", "the feed could", "$series2", "stretch"), "input_ceiling"),
    )
    for curve, name in ceilings:
        values = [value for phase in history.phases if (value := getattr(phase, name))]
        # Next to a ceiling that is far away, what was reached would be a flat line.
        if values and max(values) < _FAR * fastest:
            speed.append(curve)
    wait = [Curve("wait", "waited", "$series3", "area")]
    step = [Curve("p50", "median", "$series0"), Curve("p95", "95th percentile", "$series1", "dash")]
    most_waited = max((row.input_wait_pct for row in history.epochs), default=0)
    return _stacked(
        [
            Chart(
                "speed",
                "Examples per second",
                "Throughput over the examples seen, with the ceilings that were measured.",
                draw(speed, height=150, scale={"zero": True}, named=True),
            ),
            Chart(
                "wait",
                "Waiting for input, percent of the time",
                "Share of the time in which the step waited for its batch.",
                draw(wait, height=90, scale={"zero": True, "domainMax": max(10, most_waited)}),
            ),
            Chart(
                "step",
                "Step time, ms",
                "Median and 95th percentile of the time of a step.",
                draw(step, height=110, scale={"zero": True}),
            ),
        ]
    )


def compared_charts(histories: Mapping[str, History], runs: Sequence[str]) -> list[Chart]:
    """Returns the curves of several trainings on one axis; data: ``epochs``, ``settings``.

    Args:
        histories: By the label of the run.
        runs: Labels of all runs, those without a history too, in the order of their colours.
    """
    all_of_them = list(histories.values())
    most = max(len(history.epochs) for history in all_of_them)
    draw = partial(_of_runs, runs, dots=most <= _MOST_DOTS)
    charts = [
        Chart(
            f"metric-{index}",
            name,
            f"{name} of every run over the examples seen.",
            draw([f"v{index}", f"m{index}"], height=210),
        )
        for index, name in enumerate(metric_names(all_of_them))
    ]
    epochs = [row for history in all_of_them for row in history.epochs]
    rates, batches = [r.learning_rate for r in epochs], [r.global_batch_size for r in epochs]
    rate = draw(["rate"], height=100, steps=True, **_settings_axis(rates))
    batch = draw(["batch"], height=100, steps=True, **_settings_axis(batches))
    speed = draw(["speed"], height=120, scale={"zero": True})
    wait = draw(["wait"], height=120, scale={"zero": True})
    return _stacked(
        [
            *charts,
            Chart("rate", "Learning rate", "Learning rate of every run.", rate),
            Chart("batch", "Batch size", "Batch size of every run.", batch),
            Chart("speed", "Examples per second", "Throughput of every run.", speed),
            Chart("wait", "Waiting for input, percent of the time", "Waits of every run.", wait),
        ]
    )


def _stacked(charts: Sequence[Chart]) -> list[Chart]:
    """Names the axis that all of them share below the last one only."""
    *above, last = charts
    bare = {"x": {**_X, "title": None}}
    return [
        *(replace(c, spec=c.spec | {"encoding": c.spec["encoding"] | bare}) for c in above),
        last,
    ]


def _settings_axis(values: Sequence[float]) -> Spec:
    """Marks the values that occur, where they are few; logarithmic where they differ much."""
    few = sorted(set(values)) if len(set(values)) <= _FEW else None
    if values and min(values) > 0 and max(values) >= 4 * min(values):
        return {"scale": {"type": "log", "base": 2, "nice": False}, "values": few}
    return {"scale": {"zero": True}, "values": few}


def _over_phases(
    curves: Sequence[Curve],
    *,
    height: int,
    scale: Spec | None = None,
    values: Sequence[float] | None = None,
    named: bool = False,
    dots: bool = False,
) -> Spec:
    """Curves over the examples seen, every second phase shaded; with their names where wanted."""
    shades = {
        "data": {"name": "phases"},
        "mark": {"type": "rect", "color": "$phase", "tooltip": None},
        "encoding": {
            "x": {"field": "begin", "type": "quantitative"},
            "x2": {"field": "end"},
            "opacity": {"condition": {"test": "datum.phase % 2 == 0", "value": 1}, "value": 0},
        },
    }
    labels = {
        "data": {"name": "phases"},
        "mark": {"type": "text", "align": "left", "baseline": "top", "dx": 5, "dy": 4},
        "encoding": {
            "x": {"field": "begin", "type": "quantitative"},
            "y": {"value": 0},
            "text": {"field": "label"},
            "color": {"value": "$muted"},
        },
    }
    palette = {"domain": [c.label for c in curves], "range": [c.color for c in curves]}
    legend = {} if len(curves) > 1 else {"legend": None}
    color = {"title": None, "type": "nominal", "scale": palette, **legend}
    lines = [_line(curve, dots) for curve in curves]
    for curve, line in zip(curves, lines, strict=True):
        line["encoding"]["color"] = {"datum": curve.label, **color}
    axes = {"x": _X, "y": _y(scale, values)}
    layers = [shades, *([labels] if named else []), *lines, _hover(curves)]
    return {"height": height, "encoding": axes, "layer": layers}


def _line(curve: Curve, dots: bool) -> Spec:
    y = {"y": {"field": curve.field}}
    if curve.style == "stretch":
        x = {"x": {"field": "begin"}, "x2": {"field": "end"}}
        mark = {"type": "rule", "strokeDash": [2, 2], "strokeWidth": 1.5}
        return {"data": {"name": "phases"}, "mark": mark, "encoding": x | y}
    if curve.style == "steps":
        mark = {"type": "line", "interpolate": "step-after"}
        return {"data": {"name": "settings"}, "mark": mark, "encoding": y}
    marks: dict[str, Spec] = {
        "line": {"type": "line"},
        "dash": {"type": "line", "strokeDash": [5, 3]},
        "area": {"type": "area", "line": True, "fillOpacity": 0.25},
    }
    mark = marks[curve.style] | ({"point": {"size": 24}} if dots else {})
    return {"data": {"name": "epochs"}, "mark": mark, "encoding": y}


def _hover(curves: Sequence[Curve]) -> Spec:
    """A line at the nearest epoch, with everything about it."""
    shown = [("epoch", "epoch", ",d"), ("phase", "phase", ",d"), ("x", "examples seen", ",d")]
    shown += [(c.field, c.label, ".4~g") for c in curves if c.style != "stretch"]
    select = {"type": "point", "fields": ["x"], "nearest": True}
    return {
        "data": {"name": "epochs"},
        "params": [
            {"name": "hover", "select": select | {"on": "pointerover", "clear": "pointerout"}}
        ],
        "mark": {"type": "rule", "color": "$muted"},
        "encoding": {
            "y": {"value": 0},
            "y2": {"value": "height"},
            "opacity": {"condition": {"param": "hover", "empty": False, "value": 0.7}, "value": 0},
            "tooltip": [
                {"field": field, "title": title, "type": "quantitative", "format": form}
                for field, title, form in shown
            ],
        },
    }


def _of_runs(
    runs: Sequence[str],
    fields: Sequence[str],
    *,
    height: int,
    scale: Spec | None = None,
    values: Sequence[float] | None = None,
    steps: bool = False,
    dots: bool = False,
) -> Spec:
    """The first field drawn through for each run, the second with dashes."""
    palette = {"domain": list(runs), "range": [f"$series{i}" for i in range(len(runs))]}
    color = {"field": "run", "type": "nominal", "title": None, "scale": palette}
    interpolate = "step-after" if steps else "linear"
    through = {"type": "line", "interpolate": interpolate}
    dashed = through | {"strokeDash": [5, 3], "opacity": 0.6}
    lines = [
        {"mark": mark, "encoding": {"y": {"field": field}, "color": color}}
        for field, mark in zip(fields, (through, dashed), strict=False)
    ]
    points = {
        "mark": {"type": "point", "filled": True, "size": 30},
        "params": [
            {
                "name": "hover",
                "select": {
                    "type": "point",
                    "nearest": True,
                    "on": "pointerover",
                    "clear": "pointerout",
                },
            }
        ],
        "encoding": {
            "y": {"field": fields[0]},
            "color": color,
            "opacity": {
                "condition": {"param": "hover", "empty": False, "value": 1},
                "value": 0.8 if dots and not steps else 0,
            },
            "tooltip": [
                {"field": "run", "type": "nominal"},
                {"field": "epoch", "type": "quantitative"},
                {"field": "x", "title": "examples seen", "type": "quantitative", "format": ",d"},
                *(
                    {"field": f, "title": t, "type": "quantitative", "format": ".4~g"}
                    for f, t in _titles(fields)
                ),
            ],
        },
    }
    return {
        "height": height,
        "data": {"name": "settings" if steps else "epochs"},
        "encoding": {"x": _X, "y": _y(scale, values)},
        "layer": [*lines, points],
    }


def _titles(fields: Sequence[str]) -> list[tuple[str, str]]:
    words = ("value",) if len(fields) == 1 else ("validation", "training")
    return list(zip(fields, words, strict=True))


def _y(scale: Spec | None, values: Sequence[float] | None) -> Spec:
    axis: Spec = {"minExtent": _AXIS_PX, "maxExtent": _AXIS_PX, "tickCount": 4}
    if values is not None:
        axis |= {"values": list(values), "format": ".3~g", "labelOverlap": "greedy"}
    return {"type": "quantitative", "title": None, "axis": axis, "scale": scale or {"zero": False}}


_X: Spec = {
    "field": "x",
    "type": "quantitative",
    "title": "examples seen",
    "axis": {"format": ",d", "tickMinStep": 1, "tickCount": 8},
    "scale": {"nice": False, "zero": True},
}
