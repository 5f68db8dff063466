"""Metric thresholds per slice, as stored with an evaluation."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx_feeder.common.errors import DataError
from tfx_feeder.schemas.evaluation import ALL_EXAMPLES
from tfx_feeder.schemas.slices import SLICES_FEATURE

FILE_NAME = "eval_config.json"
_OF_PART = r"(?: of class .+| at .+| in top .+)?"


@dataclass(frozen=True, slots=True)
class MetricThreshold:
    """Value and change thresholds of a metric.

    Args:
        lower_bound: Smallest passing value.
        upper_bound: Largest passing value.
        change: Allowed change for the worse against the baseline, with its sign.
        relative: Allowed change as a fraction of the baseline.
        lower_is_better: True if an increase is a change for the worse.
    """

    lower_bound: float | None = None
    upper_bound: float | None = None
    change: float | None = None
    relative: float | None = None
    lower_is_better: bool = False

    def __str__(self) -> str:
        sign = "≤" if self.lower_is_better else "≥"
        parts = [
            *([] if self.lower_bound is None else [f"≥ {self.lower_bound:.4g}"]),
            *([] if self.upper_bound is None else [f"≤ {self.upper_bound:.4g}"]),
            *([] if self.change is None else [f"{sign} baseline {self.change:+.4g}"]),
            *([] if self.relative is None else [f"{sign} baseline {self.relative:+.2%}"]),
        ]
        return ", ".join(parts).replace("-", "−")

    def bound(self, baseline: float | None) -> float | None:
        """Returns the strictest threshold as an absolute value.

        Args:
            baseline: Value of the baseline model; if ``None``, change thresholds do not apply.
        """
        bounds = [bound for bound in (self.lower_bound, self.upper_bound) if bound is not None]
        if baseline is not None and self.change is not None:
            bounds.append(baseline + self.change)
        if baseline is not None and self.relative is not None:
            bounds.append(baseline * (1 + self.relative))
        strictest = min if self.lower_is_better or self.lower_bound is None else max
        return strictest(bounds, default=None)


@dataclass(frozen=True, slots=True)
class ThresholdRule:
    """Threshold with the metrics and slices it applies to.

    Args:
        metric: Pattern of the metric's name.
        slice: Pattern of the slice's name.
        gate: Threshold of the metric.
    """

    metric: re.Pattern[str]
    slice: re.Pattern[str]
    gate: MetricThreshold


def read_thresholds(folder: Path) -> tuple[ThresholdRule, ...]:
    """Reads the thresholds of an evaluation.

    Args:
        folder: Folder of the ``ModelEvaluation`` artifact.

    Raises:
        DataError: The thresholds cannot be read.
    """
    path = folder / FILE_NAME
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return tuple(_rules(_get(document, "eval_config", {})))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"No thresholds can be read from {path}: {error}") from error


def threshold_for(
    rules: Sequence[ThresholdRule], metric: str, slice_name: str
) -> MetricThreshold | None:
    """Returns the threshold of a metric on a slice, or ``None``.

    Args:
        rules: Thresholds in order of precedence.
        metric: Name of the metric.
        slice_name: Name of the slice.
    """
    for rule in rules:
        if rule.metric.fullmatch(metric) and rule.slice.fullmatch(slice_name):
            return rule.gate
    return None


def _rules(config: Mapping[str, Any]) -> Iterator[ThresholdRule]:
    for spec in _get(config, "metrics_specs", ()):
        for name, threshold in _get(spec, "thresholds", {}).items():
            yield from _everywhere(name, threshold)
        for name, thresholds in _get(spec, "per_slice_thresholds", {}).items():
            yield from _per_slice(name, _get(thresholds, "thresholds", ()))
        for metric in _get(spec, "metrics", ()):
            name = _metric_name(metric)
            yield from _per_slice(name, _get(metric, "per_slice_thresholds", ()))
            if threshold := _get(metric, "threshold", None):
                yield from _everywhere(name, threshold)


def _everywhere(metric: str, threshold: Mapping[str, Any]) -> Iterator[ThresholdRule]:
    yield ThresholdRule(_metric_pattern(metric), re.compile(".*", re.DOTALL), _gate(threshold))


def _per_slice(metric: str, thresholds: Sequence[Mapping[str, Any]]) -> Iterator[ThresholdRule]:
    for threshold in thresholds:
        gate = _gate(_get(threshold, "threshold", {}))
        for spec in _get(threshold, "slicing_specs", ()):
            yield ThresholdRule(_metric_pattern(metric), _slice_pattern(spec), gate)


def _metric_name(metric: Mapping[str, Any]) -> str:
    named = json.loads(metric.get("config") or "{}").get("name")
    # Keras derives the default name of a metric from its class in this way.
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", str(_get(metric, "class_name", "")))
    return named or re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", words).lower()


def _metric_pattern(name: str) -> re.Pattern[str]:
    """Matches a metric on any model output, class or cut-off."""
    return re.compile(f"(?:.+/)?{re.escape(name)}{_OF_PART}", re.DOTALL)


def _slice_pattern(spec: Mapping[str, Any]) -> re.Pattern[str]:
    """Matches the names that ``evaluation.py`` gives to the slices of a ``SlicingSpec``."""
    values = _get(spec, "feature_values", {})
    columns = dict.fromkeys(_get(spec, "feature_keys", ()), ".+")
    columns |= {key: re.escape(str(value)) for key, value in values.items()}
    parts = [_condition_pattern(key, columns[key]) for key in sorted(columns)]
    return re.compile(", ".join(parts) or re.escape(ALL_EXAMPLES), re.DOTALL)


def _condition_pattern(column: str, value: str) -> str:
    if column != SLICES_FEATURE:
        return f"{re.escape(column)} {value}"
    return f"(?!{re.escape(ALL_EXAMPLES)}$){value}"


def _gate(threshold: Mapping[str, Any]) -> MetricThreshold:
    bounds = _get(threshold, "value_threshold", {})
    change = _get(threshold, "change_threshold", {})
    return MetricThreshold(
        lower_bound=_get(bounds, "lower_bound", None),
        upper_bound=_get(bounds, "upper_bound", None),
        change=_get(change, "absolute", None),
        relative=_get(change, "relative", None),
        lower_is_better=change.get("direction") == "LOWER_IS_BETTER",
    )


def _get(mapping: Mapping[str, Any], name: str, default: Any) -> Any:
    """Returns a field of a protobuf message in JSON, in camel case or snake case."""
    first, *words = name.split("_")
    return mapping.get(first + "".join(map(str.capitalize, words)), mapping.get(name, default))
