"""Loop over steps inside one call, and what it takes: an iterator and the sizes of the batches."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def compiled(function: Callable[..., Any], *, jit_compile: bool | None = None) -> Any:
    """Returns a ``tf.function`` that is not retraced for another batch size.

    It does without AutoGraph, as ``fit()``: converting the source takes longer than tracing.

    Args:
        function: Function of tensors and iterators.
        jit_compile: If True, compile with XLA.
    """
    return tf.function(function, reduce_retracing=True, autograph=False, jit_compile=jit_compile)


def repeated(count: tf.Tensor, step: Callable[..., tuple], state: tuple) -> tuple:
    """Returns the state after a number of steps.

    Args:
        count: Number of steps, int32 ``[]``.
        step: Function of the index of the step and the elements of the state.
        state: State before the first step. A graph carries only one of fixed structure; the logs
            of an eager step may be known only after it.
    """
    if tf.executing_eagerly():
        for index in range(int(count)):
            state = step(tf.constant(index), *state)
        return state
    _, *state = tf.while_loop(
        lambda index, *_: index < count,
        lambda index, *state: (index + 1, *step(index, *state)),
        (tf.constant(0), *state),
    )
    return tuple(state)


def pack(sizes: Sequence[int]) -> tf.Tensor:
    """Returns the number of batches, their size, and the size of the last one.

    A tensor of all sizes would change its shape from call to call, which causes retracing.
    """
    return tf.constant([len(sizes), sizes[0], sizes[-1]])


def unpack(lengths: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Returns the size of a batch, int32 ``[]``.

    Args:
        lengths: Tensor returned by ``pack``.
        step: Index of the batch.
    """
    return tf.where(step == lengths[0] - 1, lengths[2], lengths[1])
