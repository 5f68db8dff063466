"""Axes of the charts that stand below each other over one training."""

import math
from collections.abc import Sequence
from dataclasses import replace

from tfx_feeder.pipeline.report.charts.base import Spec, VegaChart

MOST_DOTS = 40
"""Epochs up to which each has a dot; a single one would be no line at all."""
_WIDTH_PX = 56
_FEW = 8
"""Different settings up to which each has its mark on the axis."""

EXAMPLES_SEEN: Spec = {
    "field": "x",
    "type": "quantitative",
    "title": "examples seen",
    "axis": {"format": ",d", "tickMinStep": 1, "tickCount": 8},
    "scale": {"nice": False, "zero": True},
}
"""The axis that all of them share."""


def upright(scale: Spec | None = None, values: Sequence[float] | None = None) -> Spec:
    """Returns the other axis; as wide in all charts, so that they stand below each other.

    Args:
        scale: ``None``: as far as the values go.
        values: Those that have a mark; ``None``: round ones.
    """
    axis: Spec = {"minExtent": _WIDTH_PX, "maxExtent": _WIDTH_PX, "tickCount": 4}
    if values is not None:
        axis |= {"values": list(values), "format": ".3~g", "labelOverlap": "greedy"}
    return {"type": "quantitative", "title": None, "axis": axis, "scale": scale or {"zero": False}}


def settings_axis(values: Sequence[float]) -> Spec:
    """Returns the axis of settings, of which the few that occur have a mark."""
    finite = sorted({value for value in values if math.isfinite(value)})
    few = finite if len(finite) <= _FEW else None
    if finite and finite[0] > 0 and finite[-1] >= 4 * finite[0]:
        return upright({"type": "log", "base": 2, "nice": False}, few)
    return upright({"zero": True}, few)


def stacked(charts: Sequence[VegaChart]) -> list[VegaChart]:
    """Names the shared axis below the last chart only."""
    *above, last = charts
    bare = {"x": {**EXAMPLES_SEEN, "title": None}}
    return [
        *(replace(c, spec=c.spec | {"encoding": c.spec["encoding"] | bare}) for c in above),
        last,
    ]
