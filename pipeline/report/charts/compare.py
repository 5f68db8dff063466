"""Charts that compare several trainings."""

from collections.abc import Mapping, Sequence
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
    series,
    tooltip,
)
from tfx_feeder.pipeline.report.charts.rows import metric_names
from tfx_feeder.schemas.training_history import History

_FROM_ZERO = value_axis({"zero": True})


def compared_charts(histories: Mapping[str, History], runs: Sequence[str]) -> list[VegaChart]:
    """Returns charts of metrics, settings, throughput and input wait.

    The charts use the data sets ``epochs`` and ``settings``.

    Args:
        histories: Training histories by run label.
        runs: Labels of all runs, including those without a history, in color order.
    """
    trained = list(histories.values())
    epochs = [row for history in trained for row in history.epochs]
    dots = max(len(history.epochs) for history in trained) <= MAX_DOTS
    metric = partial(_of_runs, runs, height=210, y=value_axis(), dots=dots)
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
        ("wait", "Input wait, % of time", speed({"wait": "input wait, %"})),
    ]
    return stack(
        [VegaChart(id, title, f"{title} of each run.", spec) for id, title, spec in charts]
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
    """Draws the first field of each run as a solid line, the second as a dashed one."""
    color = {"field": "run", **color_channel(series(runs))}
    solid = {
        "type": "line",
        "interpolate": "step-after" if source == "settings" else "linear",
    }
    styles = (solid, solid | {"strokeDash": [5, 3], "opacity": 0.6})
    lines = [
        {"mark": mark, "encoding": {"y": {"field": field}, "color": color}}
        for field, mark in zip(fields, styles, strict=False)
    ]
    hover = hover_selection(1, otherwise=0.8 if dots else 0)
    place = [tooltip("run"), tooltip("epoch", ",d"), tooltip("x", ",d", "examples seen")]
    values = [tooltip(field, ".4~g", label) for field, label in fields.items()]
    first = {"y": {"field": next(iter(fields))}, "color": color, "tooltip": [*place, *values]}
    points = {
        "mark": {"type": "point", "filled": True, "size": 30},
        "params": hover["params"],
        "encoding": hover["encoding"] | first,
    }
    return {
        "height": height,
        "data": {"name": source},
        "encoding": {"x": EXAMPLES_SEEN, "y": y},
        "layer": [*lines, points],
    }
