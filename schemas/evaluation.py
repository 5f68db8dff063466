"""Results of an evaluation: metrics per slice, and the thresholds that were missed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx_feeder.schemas.slices import SLICES_FEATURE
from tfx_feeder.schemas.tfma import read_metrics, read_validation

ALL_EXAMPLES = "all examples"
EXAMPLE_COUNT = "example_count"
_CANDIDATE, _BASELINE = "candidate", "baseline"
_LOWER_IS_BETTER = 1  # Of tfma.MetricDirection.
_AGAINST = ("against", "")

SliceKey = tuple[tuple[str, Any], ...]
"""Columns and values of a slice; empty for all examples."""
_Values = dict[tuple[str, str], float]  # By model and metric.


@dataclass(frozen=True, slots=True)
class SliceRow:
    """Metric on one slice.

    Args:
        slice: Name of the slice, such as ``label 3`` or ``all examples``. A slice of the feature
            ``evaluation_slices`` is named by its value alone.
        examples: Number of examples; ``None`` if they were not counted.
        metric: Name of the metric.
        candidate: Value of the evaluated model.
        baseline: Value of the baseline model, if any.
    """

    slice: str
    examples: int | None
    metric: str
    candidate: float
    baseline: float | None = None


@dataclass(frozen=True, slots=True)
class ThresholdFailure:
    """Missed threshold.

    Args:
        metric: Name of the metric.
        slice: Name of the slice, such as ``label 3``.
        value: Value of the model; ``None`` if it could not be computed.
        threshold: Description such as ``at least 0.9``.
        baseline: Value of the baseline model, if any.
        reason: Reason in one line, if EvalGate decided.
    """

    metric: str
    slice: str
    value: float | None
    threshold: str
    baseline: float | None = None
    reason: str = ""

    def __str__(self) -> str:
        if self.reason:
            return self.reason
        value = "missing" if self.value is None else f"{self.value:.4f}"
        baseline = "none" if self.baseline is None else f"{self.baseline:.4f}"
        return (
            f"{self.metric} on {self.slice}: {value}; "
            f"threshold: {self.threshold}; baseline: {baseline}"
        )


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """Outcome of an evaluation.

    Args:
        blessed: True if there were thresholds and all of them were met.
        causes: Missed thresholds.
        rows: All scalar metrics on every slice: all examples first, then the slices in
            order.
        gated: True if there were thresholds.
    """

    blessed: bool
    causes: tuple[ThresholdFailure, ...]
    rows: tuple[SliceRow, ...]
    gated: bool = True

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metric names in order of appearance."""
        return tuple(dict.fromkeys(row.metric for row in self.rows))

    def slices(self, metric: str) -> tuple[SliceRow, ...]:
        """Returns the rows of one metric."""
        return tuple(row for row in self.rows if row.metric == metric)


def read_evaluation(folder: Path) -> EvaluationResult:
    """Reads the output of the Evaluator.

    Args:
        folder: Folder of the ``ModelEvaluation`` artifact.

    Raises:
        DataError: The evaluation cannot be read.
    """
    return from_protos(read_metrics(folder), read_validation(folder))


def from_protos(metrics: Iterable[Any], result: Any | None) -> EvaluationResult:
    """Converts the messages of TensorFlow Model Analysis.

    Args:
        metrics: ``MetricsForSlice`` messages, one per slice.
        result: ``ValidationResult``; ``None`` for an evaluation without thresholds.
    """
    values = {slice_key(message): _values(message.metric_keys_and_values) for message in metrics}
    in_order = sorted(values.items(), key=lambda item: slice_order(item[0]))
    rows = tuple(row for key, of_slice in in_order for row in _rows(key, of_slice))
    if result is None or result.missing_thresholds:
        return EvaluationResult(False, (), rows, gated=False)
    failures = sorted(
        ((slice_key(v), f) for v in result.metric_validations_per_slice for f in v.failures),
        key=lambda pair: slice_order(pair[0]),
    )
    causes = [_cause(key, failure, values.get(key, {})) for key, failure in failures]
    causes += [
        ThresholdFailure(EXAMPLE_COUNT, _spec_name(spec), None, "the slice has to hold examples")
        for spec in result.missing_slices
    ]
    return EvaluationResult(result.validation_ok, tuple(causes), rows)


def _rows(key: SliceKey, of_slice: _Values) -> Iterator[SliceRow]:
    count = of_slice.get((_CANDIDATE, EXAMPLE_COUNT))
    for (model, metric), value in of_slice.items():
        if model == _CANDIDATE and metric != EXAMPLE_COUNT:
            yield SliceRow(
                slice=slice_name(key),
                examples=None if count is None else round(count),
                metric=metric,
                candidate=value,
                baseline=of_slice.get((_BASELINE, metric)),
            )


def _cause(key: SliceKey, failure: Any, of_slice: _Values) -> ThresholdFailure:
    metric = metric_name(failure.metric_key)
    return ThresholdFailure(
        metric=metric,
        slice=slice_name(key),
        value=of_slice.get((_CANDIDATE, metric)),
        threshold=_threshold(failure.metric_threshold, failure.metric_key.is_diff),
        baseline=of_slice.get((_BASELINE, metric)),
    )


def _threshold(threshold: Any, is_change: bool) -> str:
    parts = []
    if is_change:
        change = threshold.change_threshold
        worst = "above" if change.direction == _LOWER_IS_BETTER else "below"
        if change.HasField("absolute"):
            parts.append(f"at most {_rounded(abs(change.absolute.value))} {worst} the baseline")
        if change.HasField("relative"):
            parts.append(f"at most {abs(change.relative.value):.1%} {worst} the baseline")
    else:
        bounds = threshold.value_threshold
        if bounds.HasField("lower_bound"):
            parts.append(f"at least {_rounded(bounds.lower_bound.value)}")
        if bounds.HasField("upper_bound"):
            parts.append(f"at most {_rounded(bounds.upper_bound.value)}")
    return " and ".join(parts)


def _rounded(threshold: float) -> str:
    """Formats a threshold without the error of its float32."""
    return f"{round(threshold, 6):g}" if abs(threshold) >= 1e-3 else f"{threshold:g}"


def _values(pairs: Iterable[Any]) -> _Values:
    found = ((pair.key, scalar_value(pair.value)) for pair in pairs if not pair.key.is_diff)
    return {
        (key.model_name or _CANDIDATE, metric_name(key)): number
        for key, number in found
        if number is not None
    }


def scalar_value(value: Any) -> float | None:
    """Returns the value of a scalar metric, with or without a confidence interval."""
    if value.HasField("double_value"):
        return value.double_value.value
    if value.HasField("bounded_value"):
        return value.bounded_value.value.value
    if value.HasField("t_distribution_value"):
        return value.t_distribution_value.unsampled_value.value
    return None


def metric_name(key: Any) -> str:
    """Names a metric with its model output, class or cut-off, if any."""
    name = f"{key.output_name}/{key.name}" if key.output_name else key.name
    sub = key.sub_key
    words = {"class_id": "of class", "k": "at", "top_k": "in top"}
    return " ".join(
        [name, *(f"{w} {getattr(sub, f).value}" for f, w in words.items() if sub.HasField(f))]
    )


def slice_key(message: Any) -> SliceKey:
    """Returns the columns and values of a slice, or of both slices of a comparison."""
    if not message.HasField("cross_slice_key"):
        return _conditions(message.slice_key)
    cross = message.cross_slice_key
    compared, against = cross.comparison_slice_key, cross.baseline_slice_key
    return (*_conditions(compared), _AGAINST, *_conditions(against))


def _conditions(key: Any) -> SliceKey:
    return tuple((k.column, getattr(k, k.WhichOneof("kind"))) for k in key.single_slice_keys)


def slice_name(key: SliceKey) -> str:
    """Returns the name of a slice, such as ``label 3`` or ``all examples``."""
    parts = [
        _condition(column, value.decode(errors="replace") if isinstance(value, bytes) else value)
        for column, value in key
    ]
    return ", ".join(parts) or ALL_EXAMPLES


def _condition(column: str, value: Any) -> str:
    """Names a column and its value; the values of ``evaluation_slices`` are names themselves."""
    return str(value) if column == SLICES_FEATURE else f"{column} {value}"


def _spec_name(spec: Any) -> str:
    values = (_condition(pair.key, pair.value) for pair in spec.feature_values)
    return ", ".join([*spec.feature_keys, *values]) or ALL_EXAMPLES


def slice_order(key: SliceKey) -> tuple:
    """Returns what slices are sorted by: the number of their columns, then their values."""
    # Values of different columns may differ in type and are never compared.
    return (len(key), *((column, value) for column, value in key))
