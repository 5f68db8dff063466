"""Charts of the answers of a classifier: confusion matrix and reliability."""

from collections.abc import Mapping, Sequence

from tfx_feeder.pipeline.report.charts.base import Spec, VegaChart, color_channel, tooltip
from tfx_feeder.schemas.answer_plots import AnswerPlots, ReliabilityBin, calibration_error

_CELL_PX, _MIN_PX = 22, 120
_RELIABILITY_PX = 260
_MAX_LABELED = 12
"""Number of classes up to which the cells of a confusion matrix show their counts."""


def answer_charts(plots: AnswerPlots) -> list[VegaChart]:
    """Returns the confusion matrix and the reliability, as far as there are data.

    Args:
        plots: Data over all examples.
    """
    charts = []
    if plots.confusion:
        charts.append(_confusion_chart(plots.confusion))
    if plots.reliability:
        charts.append(_reliability_chart(plots))
    return charts


def _confusion_chart(confusion: Sequence[Sequence[int]]) -> VegaChart:
    rows = [
        {
            "label": str(label),
            "prediction": str(prediction),
            "examples": count,
            "fraction": count / total,
            "of": "right" if label == prediction else "wrong",
        }
        for label, counts in enumerate(confusion)
        if (total := sum(counts))
        for prediction, count in enumerate(counts)
        if count
    ]
    classes = [str(number) for number in range(len(confusion))]
    axis = {"ticks": False, "domain": False, "labelAngle": 0, "labelOverlap": True}
    scale = {"domain": classes}
    encoding: Spec = {
        "x": {"field": "prediction", "type": "ordinal", "scale": scale, "axis": axis},
        "y": {"field": "label", "type": "ordinal", "scale": scale, "axis": axis},
        "tooltip": [
            tooltip("label"),
            tooltip("prediction"),
            tooltip("examples", ",d"),
            tooltip("fraction", ".1%", "of the label"),
        ],
    }
    palette = {"right": "$series0", "wrong": "$bad"}
    opacity = {
        "field": "fraction",
        "type": "quantitative",
        "scale": {"domain": [0, 1], "range": [0.12, 0.6]},
        "legend": None,
    }
    layers: list[Spec] = [
        {
            "mark": {"type": "rect", "cornerRadius": 2},
            "encoding": {"color": {"field": "of", **color_channel(palette)}, "opacity": opacity},
        }
    ]
    if len(classes) <= _MAX_LABELED:
        counts = {"text": {"field": "examples", "type": "quantitative", "format": ",d"}}
        layers.append({"mark": {"type": "text", "color": "$ink"}, "encoding": counts})
    spec = {
        "height": max(_MIN_PX, _CELL_PX * len(classes)),
        "data": {"values": rows},
        "encoding": encoding,
        "layer": layers,
    }
    right = sum(row[number] for number, row in enumerate(confusion))
    total = sum(map(sum, confusion))
    description = (
        f"Confusion matrix of the candidate: {right:,} of {total:,} examples are right. Rows are "
        "labels, columns predictions."
    )
    return VegaChart("confusion", "Confusion matrix of the candidate", description, spec)


def _reliability_chart(plots: AnswerPlots) -> VegaChart:
    models: Mapping[str, tuple[str, Sequence[ReliabilityBin]]] = {
        "candidate": ("$series0", plots.reliability),
        "baseline": ("$muted", plots.baseline_reliability),
    }
    labels = {
        name: f"{name}, ECE {calibration_error(bins):.3f}"
        for name, (_, bins) in models.items()
        if bins
    }
    rows = [
        {
            "model": labels[name],
            "confidence": each.confidence,
            "accuracy": each.accuracy,
            "examples": each.examples,
        }
        for name, (_, bins) in models.items()
        for each in bins
    ]
    palette = {labels[name]: color for name, (color, bins) in models.items() if bins}
    scale = {"domain": [0, 1]}
    axis = {"tickCount": 5, "format": ".1f", "grid": True}
    diagonal: Spec = {
        "data": {"values": [{"confidence": 0, "accuracy": 0}, {"confidence": 1, "accuracy": 1}]},
        "mark": {"type": "line", "strokeDash": [4, 4], "strokeWidth": 1, "color": "$muted"},
    }
    size = {
        "field": "examples",
        "type": "quantitative",
        "legend": None,
        "scale": {"range": [20, 320]},
    }
    colored = {"color": {"field": "model", **color_channel(palette)}}
    measured: Spec = {
        "data": {"values": rows},
        "layer": [
            {"mark": {"type": "line", "strokeWidth": 1.5}, "encoding": colored},
            {
                "mark": {"type": "point", "filled": True, "opacity": 0.8},
                "encoding": {
                    **colored,
                    "size": size,
                    "tooltip": [
                        tooltip("model"),
                        tooltip("examples", ",d"),
                        tooltip("confidence", ".3f"),
                        tooltip("accuracy", ".3f"),
                    ],
                },
            },
        ],
    }
    spec = {
        "height": _RELIABILITY_PX,
        "encoding": {
            "x": {
                "field": "confidence",
                "type": "quantitative",
                "title": "mean confidence",
                "scale": scale,
                "axis": axis,
            },
            "y": {
                "field": "accuracy",
                "type": "quantitative",
                "title": "accuracy",
                "scale": scale,
                "axis": axis,
            },
        },
        "layer": [diagonal, measured],
    }
    description = (
        f"Accuracy by confidence: {'; '.join(labels.values())} (expected calibration error). On "
        "the dashed line, predictions are as often right as they are confident."
    )
    return VegaChart("reliability", "Reliability", description, spec)
