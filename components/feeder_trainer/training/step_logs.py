"""Logs that the model's own steps return, carried out of the graph."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError


def as_tensors(logs: Mapping[str, Any] | None) -> dict[str, tf.Tensor]:
    """Returns the logs of a step as tensors; a metric of several values adds a log for each."""
    flat: dict[str, Any] = {}
    for name, value in (logs or {}).items():
        flat.update(value if isinstance(value, Mapping) else {name: value})
    # A metric may return a variable that is mirrored across replicas.
    return {name: tf.convert_to_tensor(value) for name, value in flat.items()}


def as_numpy(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of logs as ``fit()`` passes them to callbacks: scalars are floats."""
    values = {name: value.numpy() for name, value in as_tensors(logs).items()}
    return {name: float(value) if np.ndim(value) == 0 else value for name, value in values.items()}


def scalars(logs: Mapping[str, Any]) -> dict[str, float]:
    """Returns logs with the elements of a vector as ``name_0``, ``name_1``, and so on.

    Example:
        >>> scalars({"loss": 0.5, "f1": np.array([0.25, 0.75])})
        {'loss': 0.5, 'f1_0': 0.25, 'f1_1': 0.75}
    """
    flat: dict[str, float] = {}
    for name, value in logs.items():
        if np.ndim(value) == 0:
            flat[name] = float(value)
        else:
            flat |= {f"{name}_{i}": float(each) for i, each in enumerate(np.ravel(value))}
    return flat


def total_loss(logs: Mapping[str, Any]) -> tf.Tensor:
    """Returns the loss that has to stay finite, float64 ``[]``.

    It is the log ``loss``, or the sum of all logs whose names end in ``loss``, such as those of a
    generator and a discriminator; 0 if there are none.
    """
    tensors = as_tensors(logs)
    names = ["loss"] if "loss" in tensors else [name for name in tensors if name.endswith("loss")]
    total = tf.constant(0.0, tf.float64)
    for name in names:
        total += tf.reduce_sum(tf.cast(tensors[name], tf.float64))
    return total


def specs_of(logs: Mapping[str, Any]) -> dict[str, tf.TensorSpec]:
    """Returns the shapes and types of logs.

    Raises:
        ConfigError: A log has one value per example.
    """
    for name, tensor in logs.items():
        if not tensor.shape.is_fully_defined():
            raise ConfigError(
                "model_fn",
                received=f"a step that returns {name!r} of shape {tensor.shape}",
                expected="logs of fixed shape",
                fix="Return its mean over the batch.",
            )
    return {name: tf.TensorSpec(tensor.shape, tensor.dtype) for name, tensor in logs.items()}


def zeros_of(specs: Mapping[str, tf.TensorSpec]) -> dict[str, tf.Tensor]:
    """Returns zeros of some shapes and types, to begin a loop with."""
    return {name: tf.zeros(spec.shape, spec.dtype) for name, spec in specs.items()}
