"""Checks that the losses of the parts of a batch make up the loss of the whole batch."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.rows import count_rows, repeated_rows, take_rows
from tfx_feeder.components.feeder_trainer.model.state import plain_variables

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
    losses = [keras.losses.get(each) for each in tf.nest.flatten(model.loss)]
    reductions = {getattr(loss, "reduction", _MEAN_REDUCTIONS[0]) for loss in losses}
    if others := sorted(str(each) for each in reductions - set(_MEAN_REDUCTIONS)):
        raise ConfigError(
            "model_fn",
            received=f"{division}, for a loss with the reduction {', '.join(others)}",
            expected="a loss that is a mean over examples, because batches are divided",
            fix=f"Compile the model with reduction={_MEAN_REDUCTIONS[0]!r}, or train whole batches "
            "on one device.",
        )
    if others := sorted({_name(each) for each in losses if _depends_on_the_batch(each)}):
        raise ConfigError(
            "model_fn",
            received=f"{division}, for {', '.join(others)}",
            expected="a loss of each example by itself, because batches are divided",
            fix="Reduce it over the axes of an example only, or train whole batches on one device.",
        )


def _depends_on_the_batch(loss: Any) -> bool:
    """Returns True if a loss divides a sum over the batch by another one."""
    if getattr(loss, "ignore_class", None) is not None:
        return True
    if isinstance(loss, (keras.losses.Dice, keras.losses.Tversky)):
        return loss.axis is None
    return loss in (keras.losses.dice, keras.losses.tversky)


def _name(loss: Any) -> str:
    return getattr(loss, "name", None) or getattr(loss, "__name__", repr(loss))


def is_mean_over_examples(loss_of: Callable[[Any], tuple[float, float]], examples: Any) -> bool:
    """Returns False if the loss of a batch is not the mean of the losses of its parts.

    That of a batch that holds one example twice reveals sums, and comparisons of examples with one
    another. That of different examples reveals quotients of sums over the batch, such as a Dice
    loss. A model that draws random numbers outside of training cannot be judged, and counts as a
    mean.

    Args:
        loss_of: Function that returns the loss of a batch, and the fraction of its targets that the
            loss is the mean of.
        examples: Batch of some examples.
    """
    example = take_rows(examples, 0, 1)
    (once, fraction), (again, _) = loss_of(example), loss_of(example)
    if once != again and not math.isnan(once):
        return True
    if not _is_close(once, loss_of(repeated_rows(example))[0]):
        return False
    count = int(count_rows(examples))
    if count == 1:
        return True
    rest, fraction_of_rest = loss_of(take_rows(examples, 1, count))
    weights = fraction, fraction_of_rest * (count - 1)
    if not sum(weights):
        return True
    mean = (once * weights[0] + rest * weights[1]) / sum(weights)
    return _is_close(mean, loss_of(examples)[0])


def changes_variables(model: keras.Model, compute_loss: Callable[[], Any]) -> bool:
    """Returns True if a loss changes variables of its own or of the model, such as a counter.

    Such a loss would change them once for each part of a batch. A random state may change.

    Args:
        model: Compiled model.
        compute_loss: Function that calls the loss.
    """
    variables = _variables_of_loss(model)
    before = [tf.identity(variable) for variable in variables]
    compute_loss()
    return any(
        bool(tf.reduce_any(tf.not_equal(tf.identity(variable), value)))
        for variable, value in zip(variables, before, strict=True)
    )


def _variables_of_loss(model: keras.Model) -> list[tf.Variable]:
    """Returns the variables of a model's losses, and those that the model has as attributes."""
    found: list[tf.Variable] = []
    seen: set[int] = set()
    pending = [model.loss, *vars(model).values()]
    while pending:
        value = pending.pop()
        value = value.value if isinstance(value, keras.Variable) else value
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, tf.Variable):
            found.append(value)
        elif isinstance(value, keras.losses.Loss):
            pending += vars(value).values()
        elif isinstance(value, Mapping):
            pending += value.values()
        elif isinstance(value, (list, tuple)):
            pending += value
    return found


def _is_close(value: float, other: float) -> bool:
    return math.isclose(value, other, rel_tol=1e-3, abs_tol=1e-6)


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

    They include the ``tf.Variable`` attributes of the model and its parts, such as a counter.

    Args:
        model: Model to call; variables that the call creates keep their new values.
    """
    keras_variables = [variable.value for variable in model.non_trainable_variables]
    variables = [*keras_variables, *plain_variables(model).values()]
    before = [(variable, tf.identity(variable)) for variable in variables]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)
