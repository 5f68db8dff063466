"""What all charts have in common. They are Vega-Lite, as dictionaries.

Colours are names such as ``$series0``; the page puts those of its theme in their place.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Rows = list[dict[str, Any]]
Spec = dict[str, Any]


@dataclass(frozen=True, slots=True)
class VegaChart:
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


def number(value: float | None) -> float | None:
    """Returns a number that JSON can hold; ``None`` for infinities and NaN."""
    return value if value is not None and math.isfinite(value) else None


def series(names: Iterable[str]) -> dict[str, str]:
    """Returns a colour for each name, in the order of the series' colours."""
    return {name: f"$series{index}" for index, name in enumerate(names)}


def colors(of: Mapping[str, str]) -> Spec:
    """Returns how a channel of colours is encoded, without what it shows.

    Args:
        of: Colour by what the legend says.
    """
    scale = {"domain": list(of), "range": list(of.values())}
    return {"type": "nominal", "title": None, "scale": scale}


def tooltip(field: str, form: str = "", title: str = "") -> Spec:
    """Returns a line of a tooltip.

    Args:
        field: Column of the rows.
        form: Format of the number; empty: it is text.
        title: What it is called; empty: as the column.
    """
    kind = {"type": "quantitative", "format": form} if form else {"type": "nominal"}
    return {"field": field, "title": title or field, **kind}


def names_axis(field: str) -> Spec:
    """Returns how rows with names are encoded, in the order of the data."""
    axis = {"labelLimit": 150, "ticks": False, "domain": False, "grid": True}
    return {"field": field, "type": "nominal", "title": None, "sort": None, "axis": axis}


def hover_selection(opacity: float, *, otherwise: float = 0, fields: tuple[str, ...] = ()) -> Spec:
    """Returns parameters and opacity of marks of which the nearest to the pointer is shown.

    Args:
        opacity: Of the nearest one.
        otherwise: Of all others.
        fields: Those that have to be equal; empty: one mark only.
    """
    select = {"type": "point", "nearest": True, "on": "pointerover", "clear": "pointerout"}
    if fields:
        select["fields"] = list(fields)
    condition = {"param": "hover", "empty": False, "value": opacity}
    return {
        "params": [{"name": "hover", "select": select}],
        "encoding": {"opacity": {"condition": condition, "value": otherwise}},
    }
