"""Why a model was blessed or not: one line per cause, and the slices behind it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx_feeder.components.common.errors import DataError

ALL_EXAMPLES = "all examples"
_CANDIDATE, _BASELINE = "candidate", "baseline"
_LOWER_IS_BETTER = 1  # Of tfma.MetricDirection.


@dataclass(frozen=True, slots=True)
class SliceRow:
    """A metric on one slice.

    Args:
        slice: Such as ``label 3``, or ``all examples``.
        examples: How many it holds.
        metric: Name of the metric.
        candidate: Of the model that was evaluated.
        baseline: Of the model that it was compared with; ``None`` where there was none.
    """

    slice: str
    examples: int
    metric: str
    candidate: float
    baseline: float | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """A threshold that was missed.

    Args:
        metric: Name of the metric.
        slice: Such as ``label 3``.
        value: What the model reached; ``None`` where it could not be computed.
        threshold: In words, such as ``at least 0.9``.
        baseline: What the compared model reached, if there was one.
    """

    metric: str
    slice: str
    value: float | None
    threshold: str
    baseline: float | None = None

    def __str__(self) -> str:
        value = "missing" if self.value is None else f"{self.value:.4f}"
        baseline = "none" if self.baseline is None else f"{self.baseline:.4f}"
        return (
            f"{self.metric} on {self.slice}: {value}; "
            f"threshold: {self.threshold}; baseline: {baseline}"
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an evaluation came to.

    Args:
        blessed: Whether every threshold was met.
        causes: The thresholds that were missed.
        slices: All examples first, then the slices in order.
    """

    blessed: bool
    causes: tuple[Cause, ...]
    slices: tuple[SliceRow, ...]


def read(folder: Path, metric: str) -> Judgement:
    """Reads what the Evaluator wrote.

    Args:
        folder: Of the ``ModelEvaluation`` artifact.
        metric: Metric of the slice rows.

    Raises:
        DataError: It cannot be read, or was made without thresholds.
    """
    import tensorflow_model_analysis as tfma  # Seconds that the rest of this module need not pay.

    try:
        metrics = list(tfma.load_metrics(str(folder)))
        result = tfma.load_validation_result(str(folder))
    except Exception as error:
        raise DataError(f"No evaluation can be read from {folder}: {error}") from error
    if result is None:
        raise DataError(f"The evaluation in {folder} was made without thresholds.")
    return judge(metrics, result, metric)


def judge(metrics: Iterable[Any], result: Any, metric: str) -> Judgement:
    """Turns the messages of TensorFlow Model Analysis into a judgement.

    Args:
        metrics: ``MetricsForSlice``, one a slice.
        result: ``ValidationResult``.
        metric: Metric of the slice rows.
    """
    values = {_slice_key(m.slice_key): _values(m.metric_keys_and_values) for m in metrics}
    rows = [
        SliceRow(
            slice=_slice_name(key),
            examples=round(of_slice[_CANDIDATE, "example_count"]),
            metric=metric,
            candidate=of_slice[_CANDIDATE, metric],
            baseline=of_slice.get((_BASELINE, metric)),
        )
        for key, of_slice in sorted(values.items(), key=lambda item: _order(item[0]))
        if (_CANDIDATE, metric) in of_slice
    ]
    failures = sorted(
        (
            (_slice_key(v.slice_key), f)
            for v in result.metric_validations_per_slice
            for f in v.failures
        ),
        key=lambda pair: _order(pair[0]),
    )
    causes = [_cause(key, failure, values.get(key, {})) for key, failure in failures]
    causes += [
        Cause(metric, _spec_name(spec), None, "the slice has to hold examples")
        for spec in result.missing_slices
    ]
    return Judgement(result.validation_ok, tuple(causes), tuple(rows))


def _cause(key: tuple, failure: Any, of_slice: dict[tuple[str, str], float]) -> Cause:
    name = failure.metric_key.name
    baseline = of_slice.get((_BASELINE, name))
    value = of_slice.get((_CANDIDATE, name))
    return Cause(
        metric=name,
        slice=_slice_name(key),
        value=value,
        threshold=_threshold(failure.metric_threshold, failure.metric_key.is_diff),
        baseline=baseline,
    )


def _threshold(threshold: Any, is_change: bool) -> str:
    parts = []
    if is_change:
        change = threshold.change_threshold
        worst = "above" if change.direction == _LOWER_IS_BETTER else "below"
        if change.HasField("absolute"):
            parts.append(f"at most {abs(change.absolute.value):g} {worst} the baseline")
        if change.HasField("relative"):
            parts.append(f"at most {abs(change.relative.value):.1%} {worst} the baseline")
    else:
        bounds = threshold.value_threshold
        if bounds.HasField("lower_bound"):
            parts.append(f"at least {bounds.lower_bound.value:g}")
        if bounds.HasField("upper_bound"):
            parts.append(f"at most {bounds.upper_bound.value:g}")
    return " and ".join(parts)


def _values(pairs: Iterable[Any]) -> dict[tuple[str, str], float]:
    return {
        (pair.key.model_name or _CANDIDATE, pair.key.name): pair.value.double_value.value
        for pair in pairs
        if not pair.key.is_diff and pair.value.HasField("double_value")
    }


def _slice_key(message: Any) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (key.column, getattr(key, key.WhichOneof("kind"))) for key in message.single_slice_keys
    )


def _slice_name(key: tuple[tuple[str, Any], ...]) -> str:
    parts = [
        f"{column} {value.decode() if isinstance(value, bytes) else value}" for column, value in key
    ]
    return ", ".join(parts) or ALL_EXAMPLES


def _spec_name(spec: Any) -> str:
    parts = [*spec.feature_keys, *(f"{k} {v}" for k, v in spec.feature_values.items())]
    return ", ".join(parts) or ALL_EXAMPLES


def _order(key: tuple[tuple[str, Any], ...]) -> tuple:
    # Values of one column have one type, values of several may not: they are never compared.
    return (len(key), *((column, value) for column, value in key))
