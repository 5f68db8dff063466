"""Captures and restores everything that training changes in a model, as plain arrays."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError

_COUNTER = re.compile(r"_\d+(?=/|$)")
"""Suffix of Keras for repeated layer names, which depends on the layers created earlier in the
process."""

ArrayDict = dict[str, np.ndarray]


def capture(model: keras.Model) -> ArrayDict:
    """Copies the variables of model, optimizer and metrics.

    They include weights, random number states, optimizer slots, iteration count, learning rate and
    running metrics.

    Returns:
        Array of each variable by a name that contains the variable's index, because paths are not
        unique.
    """
    return {name: keras.ops.convert_to_numpy(v).copy() for name, v in _variables(model).items()}


def restore(model: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    """Assigns the arrays that ``capture`` returned.

    Args:
        model: Built model.
        arrays: Array of each variable by its name.

    Raises:
        ConfigError: The arrays belong to a different model; the message names the differences.
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
            received=f"variables that differ from this model's: {', '.join(wrong[:5])}"
            + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""),
            expected="a checkpoint of the same model",
            fix="Remove the checkpoint folder to start from scratch.",
        )
    sums = []
    for name, variable in variables.items():
        if variable.aggregation == "sum" and _is_replicated(variable):
            sums.append((variable, arrays[name]))
        else:
            variable.assign(arrays[name])
    if sums:
        _assign_sums(sums)


def _is_replicated(variable: Any) -> bool:
    return isinstance(variable.value, tf.distribute.DistributedValues)


def _assign_sums(sums: Sequence[tuple[Any, np.ndarray]]) -> None:
    """Assigns variables that are sums over replicas: the first replica receives the whole value.

    TensorFlow would split the value across replicas, which corrupts integer variables.
    """

    def put() -> None:
        context = tf.distribute.get_replica_context()
        is_first = context.replica_id_in_sync_group == 0
        for variable, array in sums:
            variable.assign(tf.where(is_first, array, np.zeros_like(array)))

    strategy = sums[0][0].value.distribute_strategy
    tf.function(lambda: strategy.run(put))()


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
