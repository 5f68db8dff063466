"""Variables of a model as one flat vector, for exchange and averaging."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class FlatVariables:
    """Concatenated floating-point variables, and integers if wanted; others are skipped.

    Args:
        variables: Built Keras variables.
        integers: True to include integers, such as the counts of a metric.
    """

    def __init__(self, variables: Iterable[Any], *, integers: bool = False) -> None:
        is_float, is_int = keras.backend.is_float_dtype, keras.backend.is_int_dtype
        self._variables = [
            v for v in variables if is_float(v.dtype) or (integers and is_int(v.dtype))
        ]
        self._sizes = [int(np.prod(v.shape)) for v in self._variables]
        # Of a large integer, single precision would drop the last digits.
        double = any(v.dtype == "float64" or is_int(v.dtype) for v in self._variables)
        self._dtype = tf.float64 if double else tf.float32
        self._read = tf.function(self._read_all, autograph=False)
        self._write = tf.function(self._write_all, reduce_retracing=True, autograph=False)

    def read(self) -> np.ndarray:
        """Returns the values, read-only ``[size]``; float32, or float64 if one needs it."""
        return self._read().numpy()

    def write(self, values: np.ndarray) -> None:
        """Assigns ``values`` (``[size]``, in the order of ``read``) to the variables."""
        self._write(tf.constant(values, self._dtype))

    def _read_all(self) -> tf.Tensor:
        if not self._variables:
            return tf.zeros([0], self._dtype)
        flat = [tf.reshape(tf.cast(v.value, self._dtype), [-1]) for v in self._variables]
        return tf.concat(flat, axis=0)

    def _write_all(self, values: tf.Tensor) -> None:
        parts = tf.split(values, self._sizes)
        for variable, part in zip(self._variables, parts, strict=True):
            variable.assign(tf.cast(tf.reshape(part, variable.shape), variable.dtype))
