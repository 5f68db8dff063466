"""Checks that the losses of the parts of a batch make up the loss of the whole batch."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.rows import repeated_rows

_MEAN_REDUCTIONS = ("sum_over_batch_size", "mean")
"""Reductions of losses that are means over examples."""


def check_loss_reductions(division: str, model: keras.Model) -> None:
    """Checks that all losses of a model are means over examples.

    Args:
        division: Name of what divides the batches, for the error message.
        model: Compiled model.

    Raises:
        ConfigError: A loss has another reduction.
    """
    losses = tf.nest.flatten(model.loss)
    reductions = {getattr(loss, "reduction", _MEAN_REDUCTIONS[0]) for loss in losses}
    if others := sorted(str(each) for each in reductions - set(_MEAN_REDUCTIONS)):
        raise ConfigError(
            "model_fn",
            received=f"{division}, for a loss with the reduction {', '.join(others)}",
            expected="a loss that is a mean over examples, because batches are divided",
            fix=f"Compile the model with reduction={_MEAN_REDUCTIONS[0]!r}, or train whole batches "
            "on one device.",
        )


def is_mean_over_examples(loss_of: Callable[[Any], float], example: Any) -> bool:
    """Returns False if the loss of an example changes when the batch holds it twice.

    Sums over the batch and losses that compare examples with one another do. A model that draws
    random numbers outside of training cannot be judged, and counts as a mean.

    Args:
        loss_of: Function that returns the loss of a batch.
        example: Batch of one example.
    """
    once, again = loss_of(example), loss_of(example)
    if once != again and not math.isnan(once):
        return True
    return math.isclose(once, loss_of(repeated_rows(example)), rel_tol=1e-3, abs_tol=1e-6)


def loss_mask(y_pred: Any) -> Any:
    """Returns the mask that Keras applies to the targets of a prediction, or ``None``.

    Keras has no public access to the mask that a layer attaches to its output.
    """
    return getattr(y_pred, "_keras_mask", None)


def unmasked_fraction(y_pred: Any) -> Any:
    """Returns the fraction of a prediction's targets that count: a number of 1.0 without a mask."""
    mask = None if tf.nest.is_nested(y_pred) else loss_mask(y_pred)
    return 1.0 if mask is None else tf.reduce_mean(tf.cast(mask, tf.float32))


@contextlib.contextmanager
def unchanged_variables(model: keras.Model) -> Iterator[None]:
    """Restores variables that a call of the model changes, such as the states of random seeds.

    Args:
        model: Model to call; variables that the call creates keep their new values.
    """
    before = [(v, tf.identity(v.value)) for v in model.non_trainable_variables]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)
