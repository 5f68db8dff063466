"""Gradient accumulation over micro-batches, and the gradient noise scale."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


class AccumulatedGradients(NamedTuple):
    """Gradients of one batch.

    Args:
        values: Gradient of each trainable weight; ``None`` if the loss does not depend on it.
        loss: Mean loss, float32 ``[]``.
        micro_sq_norm: Mean squared norm of the micro-batch gradients, float32 ``[]``; 0 if not
            estimated.
        batch_sq_norm: Squared norm of the batch gradient.
        micro_batch_size: Examples in a micro-batch.
    """

    values: list[Any]
    loss: tf.Tensor
    micro_sq_norm: Any = 0.0
    batch_sq_norm: Any = 0.0
    micro_batch_size: Any = 0.0


def accumulate(
    gradients: Callable[..., AccumulatedGradients],
    batch: Any,
    weights: Sequence[Any],
    *,
    limit: int | None,
    at_least_two: bool,
) -> AccumulatedGradients:
    """Computes the gradients of a batch, one micro-batch at a time.

    Each micro-batch is weighted by its fraction of the examples, so the sum is the gradient of the
    whole batch for any loss that is a mean over examples; weight penalties are counted once.

    Args:
        gradients: Function that computes the gradients of one micro-batch; called with the
            elements of ``batch``.
        batch: Nested tensors ``[batch, ...]``; ``None`` elements are passed through.
        weights: Trainable weights.
        limit: Maximum number of examples in a micro-batch; ``None`` for no limit.
        at_least_two: If True, the batch is split even if it is within the limit.
    """
    flat = [tensor for tensor in tf.nest.flatten(batch) if tensor is not None]
    total = tf.shape(flat[0])[0]
    size = total if limit is None else tf.minimum(total, limit)
    if at_least_two:
        size = tf.minimum(size, tf.maximum(1, (total + 1) // 2))
    count = (total + size - 1) // size

    def part(index: tf.Tensor) -> Any:
        rows = slice(index * size, tf.minimum((index + 1) * size, total))
        return tf.nest.map_structure(lambda t: None if t is None else t[rows], batch)

    def more(index: tf.Tensor, *_: Any) -> tf.Tensor:
        return index < count

    def add(index: tf.Tensor, sums: list[tf.Tensor], loss: tf.Tensor, squares: tf.Tensor) -> Any:
        result = gradients(*part(index))
        # A while loop cannot carry the IndexedSlices of embeddings or a missing gradient.
        values = [
            tf.zeros_like(so_far) if value is None else tf.convert_to_tensor(value)
            for value, so_far in zip(result.values, sums, strict=True)
        ]
        examples = tf.minimum((index + 1) * size, total) - index * size
        weight = tf.cast(examples / total, tf.float32)
        sums = [a + b * tf.cast(weight, b.dtype) for a, b in zip(sums, values, strict=True)]
        return index + 1, sums, loss + result.loss * weight, squares + squared_norm(values)

    zeros = [tf.zeros(weight.shape, weight.dtype) for weight in weights]
    state = (tf.constant(0), zeros, tf.constant(0.0), tf.constant(0.0))
    _, sums, loss, squares = tf.while_loop(more, add, state, parallel_iterations=1)
    # The two norms allow an estimate only if all micro-batches have the same size.
    equal = tf.logical_and(count > 1, count * size == total)
    return AccumulatedGradients(
        sums,
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
    usable = (small > 0) & (big > small)
    if not usable.any():
        return None
    g_small, g_big, small, big = (a[usable] for a in (micro_sq_norm, batch_sq_norm, small, big))
    square = np.mean((big * g_big - small * g_small) / (big - small))
    trace = np.mean((g_small - g_big) / (1 / small - 1 / big))
    return float(trace / square) if square > 0 and trace > 0 else None


def squared_norm(values: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the squared global norm of gradients, float32 ``[]``."""
    return tf.add_n([tf.reduce_sum(tf.square(tf.cast(value, tf.float32))) for value in values])
