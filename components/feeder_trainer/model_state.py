"""Everything that training changes in a model, as plain arrays to put aside and bring back."""

import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfx_feeder.components.common.errors import ConfigError

_COUNTER = re.compile(r"_\d+(?=/|$)")
"""What Keras appends to the names of a second layer of a kind: it depends on what else the process
has made before."""

ArrayDict = dict[str, np.ndarray]


def capture(model: keras.Model) -> ArrayDict:
    """Copies the variables of model, optimizer and metrics.

    Weights, random number states, optimizer slots, iteration count, learning rate and running
    metrics are all among them.

    Returns:
        Arrays by a name that begins with the variable's index, so that equal paths do not meet.
    """
    return {name: keras.ops.convert_to_numpy(v).copy() for name, v in _variables(model).items()}


def restore(model: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    """Brings back what ``capture`` copied.

    Raises:
        ConfigError: The arrays belong to another model; the message names the difference.
    """
    variables = _variables(model)
    wrong = sorted(
        name
        for name in variables.keys() | arrays.keys()
        if name not in variables
        or name not in arrays
        or tuple(variables[name].shape) != arrays[name].shape
    )
    if wrong:
        raise ConfigError(
            "checkpoint",
            received=f"variables that this model does not have so: {', '.join(wrong[:5])}"
            + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""),
            expected="a checkpoint of the same model",
            fix="Remove the checkpoint folder to start afresh.",
        )
    for name, variable in variables.items():
        _assign(variable, arrays[name])


def _assign(variable: Any, array: np.ndarray) -> None:
    value = variable.value
    if variable.aggregation != "sum" or not isinstance(value, tf.distribute.DistributedValues):
        variable.assign(array)
        return

    # A sum over replicas. TensorFlow would divide it among them, which not every number survives.
    def put() -> None:
        context = tf.distribute.get_replica_context()
        is_first = context.replica_id_in_sync_group == 0
        variable.assign(array if is_first else np.zeros_like(array))

    value.distribute_strategy.run(put)


def _variables(model: keras.Model) -> dict[str, Any]:
    groups = {
        "model": model.variables,
        "optimizer": model.optimizer.variables,
        "metrics": model.metrics_variables,
    }
    return {
        f"{group}/{index:04d}/{_COUNTER.sub('', variable.path)}": variable
        for group, variables in groups.items()
        for index, variable in enumerate(variables)
    }
