"""Weights of classes in the training loss."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError


class ClassWeights:
    """Function that multiplies sample weights by those of the classes.

    A class without a weight has weight 1, also above the highest class with a weight, where
    ``fit()`` fails.

    Args:
        class_weight: Weight of each class, by its integer label; ``None`` for no weights.
    """

    def __init__(self, class_weight: Mapping[int, float] | None) -> None:
        self._table: tf.Tensor | None = None
        if class_weight is not None:
            # The last entry is the weight of all higher classes.
            table = np.ones(max(class_weight) + 2, np.float32)
            for label, weight in class_weight.items():
                table[label] = weight
            self._table = tf.constant(table)

    def __call__(self, y: Any, weight: Any) -> Any:
        """Returns the sample weights, ``[batch]`` or ``[batch, positions]``.

        Args:
            y: Labels ``[batch, ...]``: integers, or probabilities of the classes.
            weight: Sample weights of each example or of each of its positions; optional.

        Raises:
            ConfigError: There are no labels, or those of several outputs.
        """
        if self._table is None:
            return weight
        if y is None or isinstance(y, Mapping):
            raise ConfigError(
                "loop class_weight",
                received="no label" if y is None else f"labels for the outputs {sorted(y)}",
                expected="a model with one output",
                fix="Drop it." if y is None else "Use FeedOptions(weight_key=...) instead.",
            )
        labels = y
        if y.shape.rank > 1:
            labels = tf.squeeze(y, axis=-1) if y.shape[-1] == 1 else tf.argmax(y, axis=-1)
        # Rounded, as by fit(): a smoothed label counts for the closest class.
        labels = tf.cast(tf.round(labels) if labels.dtype.is_floating else labels, tf.int64)
        of_class = tf.gather(self._table, tf.minimum(labels, self._table.shape[0] - 1))
        if weight is None:
            return of_class
        # Either may be that of each example, or of each of its positions.
        rank = max(of_class.shape.rank, weight.shape.rank)
        of_class, weight = (_with_rank(each, rank) for each in (of_class, weight))
        return of_class * tf.cast(weight, tf.float32)


def _with_rank(tensor: tf.Tensor, rank: int) -> tf.Tensor:
    """Returns a tensor with as many more dimensions of size 1 as the rank needs."""
    for _ in range(rank - tensor.shape.rank):
        tensor = tf.expand_dims(tensor, axis=-1)
    return tensor
