"""Gradient accumulation over micro-batches, and the gradient noise scale."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.rows import count_rows, take_rows


class AccumulatedGradients(NamedTuple):
    """Gradients of one batch.

    Args:
        values: Gradient of each trainable weight; ``None`` if the loss does not depend on it.
        loss: Mean loss, float32 ``[]``.
        micro_sq_norm: Mean squared norm of the micro-batch gradients, float32 ``[]``; 0 if not
            estimated.
        batch_sq_norm: Squared norm of the batch gradient.
        micro_batch_size: Examples in a micro-batch.
        target_fraction: Fraction of the targets that the loss is the mean of: 1.0 without a mask.
        logs: Logs of the model's own ``compute_metrics``.
    """

    values: list[Any]
    loss: tf.Tensor
    micro_sq_norm: Any = 0.0
    batch_sq_norm: Any = 0.0
    micro_batch_size: Any = 0.0
    target_fraction: Any = 1.0
    logs: Mapping[str, Any] = {}


def accumulate(
    gradients: Callable[..., AccumulatedGradients],
    batch: Any,
    weights: Sequence[Any],
    *,
    limit: int | None,
    at_least_two: bool,
) -> AccumulatedGradients:
    """Computes the gradients of a batch, one micro-batch at a time.

    Each micro-batch is weighted by its fraction of the examples, or of the unmasked targets, so the
    sum is the gradient of the whole batch for any loss that is a mean over examples; weight
    penalties are counted once.

    Args:
        gradients: Function that computes the gradients of one micro-batch; called with the
            elements of ``batch`` and the micro-batch's fraction of the examples.
        batch: Nested tensors ``[batch, ...]``; ``None`` elements are passed through.
        weights: Trainable weights.
        limit: Maximum number of examples in a micro-batch; ``None`` for no limit.
        at_least_two: If True, the batch is split even if it is within the limit.
    """
    total = count_rows(batch)
    size = total if limit is None else tf.minimum(total, limit)
    if at_least_two:
        size = tf.minimum(size, tf.maximum(1, (total + 1) // 2))
    count = (total + size - 1) // size
    has_gradient = [False] * len(weights)  # Known once the loop is traced.

    def part(index: tf.Tensor) -> Any:
        return take_rows(batch, index * size, tf.minimum((index + 1) * size, total))

    def more(index: tf.Tensor, *_: Any) -> tf.Tensor:
        return index < count

    def add(
        index: tf.Tensor,
        sums: list[tf.Tensor],
        loss: tf.Tensor,
        squares: tf.Tensor,
        targets: tf.Tensor,
    ) -> Any:
        examples = tf.minimum((index + 1) * size, total) - index * size
        fraction = tf.cast(examples / total, tf.float32)
        result = gradients(*part(index), fraction)
        has_gradient[:] = [value is not None for value in result.values]
        # A while loop cannot carry the IndexedSlices of embeddings or a missing gradient.
        values = [
            tf.zeros_like(so_far) if value is None else tf.convert_to_tensor(value)
            for value, so_far in zip(result.values, sums, strict=True)
        ]
        weight = fraction * result.target_fraction
        sums = [a + b * tf.cast(weight, b.dtype) for a, b in zip(sums, values, strict=True)]
        loss += result.loss * weight
        return index + 1, sums, loss, squares + squared_norm(values), targets + weight

    zeros = [tf.zeros(weight.shape, weight.dtype) for weight in weights]
    state = (tf.constant(0), zeros, tf.constant(0.0), tf.constant(0.0), tf.constant(0.0))
    _, sums, loss, squares, targets = tf.while_loop(more, add, state, parallel_iterations=1)
    # The weights add up to 1 unless targets are masked.
    sums = [tf.math.divide_no_nan(value, tf.cast(targets, value.dtype)) for value in sums]
    loss = tf.math.divide_no_nan(loss, targets)
    # The two norms allow an estimate only if all micro-batches have the same size.
    equal = tf.logical_and(count > 1, count * size == total)
    return AccumulatedGradients(
        # The optimizer leaves out weights without a gradient, also their weight decay.
        [value if is_given else None for value, is_given in zip(sums, has_gradient, strict=True)],
        loss,
        micro_sq_norm=squares / tf.cast(count, tf.float32),
        batch_sq_norm=squared_norm(sums),
        micro_batch_size=tf.where(equal, tf.cast(size, tf.float32), 0.0),
    )


def noise_scale(
    micro_sq_norm: np.ndarray, batch_sq_norm: np.ndarray, small: np.ndarray, big: np.ndarray
) -> float | None:
    """Returns the gradient noise scale: the batch size above which larger batches pay off less.

    McCandlish et al. 2018, "An Empirical Model of Large-Batch Training", appendix A.1: the squared
    norms at two batch sizes give unbiased estimates of the true gradient's squared norm and of the
    trace of its covariance; both are averaged before the ratio is taken.

    Args:
        micro_sq_norm: Mean squared norms of the micro-batch gradients, ``[steps]``.
        batch_sq_norm: Squared norms of the batch gradients, ``[steps]``.
        small: Examples in a micro-batch, ``[steps]``; steps with 0 are ignored.
        big: Examples in a batch, ``[steps]``.

    Returns:
        Noise scale in examples; ``None`` if the steps are too few or too noisy.
    """
    # A step that overflowed under a loss scale has no norms.
    usable = (small > 0) & (big > small) & np.isfinite(micro_sq_norm) & np.isfinite(batch_sq_norm)
    if not usable.any():
        return None
    g_small, g_big, small, big = (a[usable] for a in (micro_sq_norm, batch_sq_norm, small, big))
    square = np.mean((big * g_big - small * g_small) / (big - small))
    trace = np.mean((g_small - g_big) / (1 / small - 1 / big))
    return float(trace / square) if square > 0 and trace > 0 else None


def squared_norm(values: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the squared global norm of gradients, float32 ``[]``."""
    squares = [tf.reduce_sum(tf.square(tf.cast(value, tf.float32))) for value in values]
    return tf.add_n([tf.constant(0.0), *squares])
