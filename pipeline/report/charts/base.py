"""Building blocks of charts, as Vega-Lite specifications in dictionaries.

Colors are names such as ``$series0``; the page replaces them by the colors of its theme.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Rows = list[dict[str, Any]]
Spec = dict[str, Any]


@dataclass(frozen=True, slots=True)
class VegaChart:
    """Vega-Lite chart.

    Args:
        id: Unique id on the page.
        title: Title above the chart.
        description: Text alternative for screen readers.
        spec: Vega-Lite specification without data sets and theme.
    """

    id: str
    title: str
    description: str
    spec: Spec


def finite(value: float | None) -> float | None:
    """Returns the number if JSON can represent it; ``None`` for infinities and NaN."""
    return value if value is not None and math.isfinite(value) else None


def series(names: Iterable[str]) -> dict[str, str]:
    """Assigns the series colors to names in order."""
    return {name: f"$series{index}" for index, name in enumerate(names)}


def color_channel(palette: Mapping[str, str]) -> Spec:
    """Returns a color encoding without a field.

    Args:
        palette: Colors by legend label.
    """
    scale = {"domain": list(palette), "range": list(palette.values())}
    return {"type": "nominal", "title": None, "scale": scale}


def tooltip(field: str, form: str = "", title: str = "") -> Spec:
    """Returns a tooltip entry.

    Args:
        field: Column of the rows.
        form: Number format; empty for text.
        title: Label; empty: the column name.
    """
    kind = {"type": "quantitative", "format": form} if form else {"type": "nominal"}
    return {"field": field, "title": title or field, **kind}


def category_axis(field: str) -> Spec:
    """Returns a categorical axis in the order of the data."""
    axis = {"labelLimit": 150, "ticks": False, "domain": False, "grid": True}
    return {"field": field, "type": "nominal", "title": None, "sort": None, "axis": axis}


def hover_selection(opacity: float, *, otherwise: float = 0, fields: tuple[str, ...] = ()) -> Spec:
    """Returns parameters and encoding that highlight the mark nearest to the pointer.

    Args:
        opacity: Opacity of the nearest mark.
        otherwise: Opacity of all other marks.
        fields: Fields whose equality selects further marks; empty: one mark only.
    """
    select = {"type": "point", "nearest": True, "on": "pointerover", "clear": "pointerout"}
    if fields:
        select["fields"] = list(fields)
    condition = {"param": "hover", "empty": False, "value": opacity}
    return {
        "params": [{"name": "hover", "select": select}],
        "encoding": {"opacity": {"condition": condition, "value": otherwise}},
    }
