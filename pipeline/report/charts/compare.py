"""Charts of several trainings on one axis."""

from collections.abc import Mapping, Sequence
from functools import partial

from tfx_feeder.pipeline.report.charts.axes import (
    EXAMPLES_SEEN,
    MOST_DOTS,
    settings_axis,
    stacked,
    upright,
)
from tfx_feeder.pipeline.report.charts.base import (
    Spec,
    VegaChart,
    colors,
    hover_selection,
    series,
    tooltip,
)
from tfx_feeder.pipeline.report.charts.rows import metric_names
from tfx_feeder.schemas.training_history import History

_FROM_ZERO = upright({"zero": True})


def compared_charts(histories: Mapping[str, History], runs: Sequence[str]) -> list[VegaChart]:
    """Returns metrics, settings, throughput and waits; data: ``epochs``, ``settings``.

    Args:
        histories: By the label of the run.
        runs: Labels of all runs, those without a history too, in the order of their colours.
    """
    trained = list(histories.values())
    epochs = [row for history in trained for row in history.epochs]
    dots = max(len(history.epochs) for history in trained) <= MOST_DOTS
    metric = partial(_of_runs, runs, height=210, y=upright(), dots=dots)
    setting = partial(_of_runs, runs, height=100, source="settings")
    speed = partial(_of_runs, runs, height=120, y=_FROM_ZERO, dots=dots)
    rates = settings_axis([row.learning_rate for row in epochs])
    batches = settings_axis([row.global_batch_size for row in epochs])
    charts = [
        *(
            (f"metric-{index}", name, metric({f"v{index}": "validation", f"m{index}": "training"}))
            for index, name in enumerate(metric_names(trained))
        ),
        ("rate", "Learning rate", setting({"rate": "rate"}, y=rates)),
        ("batch", "Batch size", setting({"batch": "batch"}, y=batches)),
        ("speed", "Examples per second", speed({"speed": "examples/s"})),
        ("wait", "Waiting for input, percent of the time", speed({"wait": "waited, %"})),
    ]
    return stacked(
        [VegaChart(id, title, f"{title} of every run.", spec) for id, title, spec in charts]
    )


def _of_runs(
    runs: Sequence[str],
    fields: Mapping[str, str],
    *,
    height: int,
    y: Spec,
    source: str = "epochs",
    dots: bool = False,
) -> Spec:
    """The first field drawn through for each run, the second with dashes."""
    color = {"field": "run", **colors(series(runs))}
    through = {
        "type": "line",
        "interpolate": "step-after" if source == "settings" else "linear",
    }
    styles = (through, through | {"strokeDash": [5, 3], "opacity": 0.6})
    lines = [
        {"mark": mark, "encoding": {"y": {"field": field}, "color": color}}
        for field, mark in zip(fields, styles, strict=False)
    ]
    shown = hover_selection(1, otherwise=0.8 if dots else 0)
    place = [tooltip("run"), tooltip("epoch", ",d"), tooltip("x", ",d", "examples seen")]
    values = [tooltip(field, ".4~g", label) for field, label in fields.items()]
    first = {"y": {"field": next(iter(fields))}, "color": color, "tooltip": [*place, *values]}
    points = {
        "mark": {"type": "point", "filled": True, "size": 30},
        "params": shown["params"],
        "encoding": shown["encoding"] | first,
    }
    return {
        "height": height,
        "data": {"name": source},
        "encoding": {"x": EXAMPLES_SEEN, "y": y},
        "layer": [*lines, points],
    }
