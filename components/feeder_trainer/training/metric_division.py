"""Tells metrics that count examples from metrics that count batches, whose parts need weights."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from tfx_feeder.components.feeder_trainer.feed.rows import count_rows, repeated_rows, take_rows


class DependentMetricError(Exception):
    """Raised when no weights of the parts of a batch give the metric of the whole batch."""


def variables_by_batch(
    model: keras.Model, update: Callable[[Any], Any], examples: Any, *, sums_replicas: bool = False
) -> list[keras.Variable]:
    """Returns the variables of metrics that count batches, such as those of losses by output.

    The updates with the parts of a batch have to be weighted by their fraction of it, in order to
    add up to the update with the whole batch. Those of other variables, such as the counts of a
    confusion matrix, add up as they are. A variable that differs from call to call, as with random
    numbers, or that the examples leave unchanged is judged by the others of its metric.

    Args:
        model: Model, whose metrics are reset.
        update: Function that updates the metrics with a batch.
        examples: Batch of some examples.
        sums_replicas: If True, each part updates a variable of its own, and these are summed, which
            changes a maximum.

    Raises:
        DependentMetricError: A metric of a batch is neither the sum nor the mean of those of its
            parts, such as a function that returns the F1 score of the batch, or the last value.
    """
    examples, parts, fraction = _halves(examples)
    found, others = [], []
    sequences = [[examples], [examples], parts, parts[:1], parts[1:]]
    for variable, whole, again, both, first, rest in _states(model, update, sequences):
        is_mean = _is_close(whole, fraction * first + (1 - fraction) * rest)
        if not _is_close(whole, again) or (is_mean and _is_close(whole, both)):
            others.append(variable)
        elif _is_close(whole, both):
            if sums_replicas and not _is_close(whole, first + rest):
                raise DependentMetricError(variable.path)
        else:
            adds_up = is_mean and _is_close(both, first + rest)
            if not variable.dtype.startswith("float") or not adds_up:
                raise DependentMetricError(variable.path)
            found.append(variable)
    metrics = {_metric_of(variable) for variable in found}
    return [*found, *(variable for variable in others if _metric_of(variable) in metrics)]


def check_sums(model: keras.Model, update: Callable[[Any], Any], examples: Any) -> None:
    """Checks that metrics of processes that each see some of the batches add up.

    Args:
        model: Model, whose metrics are reset.
        update: Function that updates the metrics with a batch.
        examples: Batch of some examples.

    Raises:
        DependentMetricError: A metric after two batches is not the sum of those after each, such as
            a maximum or the last value.
    """
    _, parts, _ = _halves(examples)
    sequences = [parts, parts, parts[:1], parts[1:]]
    for variable, both, again, first, rest in _states(model, update, sequences):
        if _is_close(both, again) and not _is_close(both, first + rest):
            raise DependentMetricError(variable.path)


def _halves(examples: Any) -> tuple[Any, list[Any], float]:
    """Returns at least two examples, their two halves, and the fraction of the first."""
    count = int(count_rows(examples))
    if count == 1:
        count, examples = 2, repeated_rows(examples)
    half = count // 2
    return examples, [take_rows(examples, 0, half), take_rows(examples, half, count)], half / count


def _states(
    model: keras.Model, update: Callable[[Any], Any], sequences: Sequence[Sequence[Any]]
) -> Iterator[tuple]:
    """Yields each variable of the metrics with its value after each sequence of batches."""
    variables = [v for v in model.metrics_variables if v.dtype != "string"]

    def values(batches: Sequence[Any]) -> list[np.ndarray]:
        model.reset_metrics()
        for batch in batches:
            update(batch)
        return [keras.ops.convert_to_numpy(v) for v in variables]

    yield from zip(variables, *map(values, sequences), strict=True)


def _metric_of(variable: keras.Variable) -> str:
    return variable.path.rpartition("/")[0]


def _is_close(value: np.ndarray, other: np.ndarray) -> bool:
    # The metrics of Keras subtract large counts, such as the weights below and above a threshold.
    scale = np.abs(other[np.isfinite(other)]).max(initial=1)
    return np.allclose(value, other, rtol=1e-3, atol=1e-6 * scale, equal_nan=True)
