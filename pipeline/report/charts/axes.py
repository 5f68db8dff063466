"""Axes shared by the stacked charts of a training."""

import math
from collections.abc import Sequence
from dataclasses import replace

from tfx_feeder.pipeline.report.charts.base import Spec, VegaChart

MAX_DOTS = 40
"""Maximum number of epochs drawn with dots; a line needs more than one epoch to be visible."""
_WIDTH_PX = 56
_MAX_TICKS = 8
"""Maximum number of different settings with a tick each."""

EXAMPLES_SEEN: Spec = {
    "field": "x",
    "type": "quantitative",
    "title": "examples seen",
    "axis": {"format": ",d", "tickMinStep": 1, "tickCount": 8},
    "scale": {"nice": False, "zero": True},
}
"""Shared x-axis."""


def value_axis(scale: Spec | None = None, values: Sequence[float] | None = None) -> Spec:
    """Returns a y-axis; all have the same width, which aligns stacked charts.

    Args:
        scale: Vega-Lite scale; ``None``: the range of the values.
        values: Values with a tick; ``None``: round values.
    """
    axis: Spec = {"minExtent": _WIDTH_PX, "maxExtent": _WIDTH_PX, "tickCount": 4}
    if values is not None:
        axis |= {"values": list(values), "format": ".3~g", "labelOverlap": "greedy"}
    return {"type": "quantitative", "title": None, "axis": axis, "scale": scale or {"zero": False}}


def settings_axis(values: Sequence[float]) -> Spec:
    """Returns the y-axis of a setting with a tick at each value, logarithmic for wide ranges."""
    finite = sorted({value for value in values if math.isfinite(value)})
    ticks = finite if len(finite) <= _MAX_TICKS else None
    if finite and finite[0] > 0 and finite[-1] >= 4 * finite[0]:
        return value_axis({"type": "log", "base": 2, "nice": False}, ticks)
    return value_axis({"zero": True}, ticks)


def stack(charts: Sequence[VegaChart]) -> list[VegaChart]:
    """Stacks charts: only the last one gets the title of the shared x-axis."""
    *above, last = charts
    bare = {"x": {**EXAMPLES_SEEN, "title": None}}
    return [
        *(replace(c, spec=c.spec | {"encoding": c.spec["encoding"] | bare}) for c in above),
        last,
    ]
