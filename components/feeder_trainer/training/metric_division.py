"""Tells metrics that count examples from metrics that count batches, whose parts need weights."""

from collections.abc import Callable, Sequence
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
    count = int(count_rows(examples))
    if count == 1:
        count, examples = 2, repeated_rows(examples)
    parts = [take_rows(examples, 0, count // 2), take_rows(examples, count // 2, count)]
    fraction = (count // 2) / count
    variables = [v for v in model.metrics_variables if v.dtype != "string"]

    def states(batches: Sequence[Any]) -> list[np.ndarray]:
        model.reset_metrics()
        for batch in batches:
            update(batch)
        return [keras.ops.convert_to_numpy(v) for v in variables]

    found, others = [], []
    states_of = [[examples], [examples], parts, parts[:1], parts[1:]]
    for variable, *results in zip(variables, *map(states, states_of), strict=True):
        whole, again, both, first, rest = results
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


def _metric_of(variable: keras.Variable) -> str:
    return variable.path.rpartition("/")[0]


def _is_close(value: np.ndarray, other: np.ndarray) -> bool:
    # The metrics of Keras subtract large counts, such as the weights below and above a threshold.
    scale = np.abs(other[np.isfinite(other)]).max(initial=1)
    return np.allclose(value, other, rtol=1e-3, atol=1e-6 * scale, equal_nan=True)
