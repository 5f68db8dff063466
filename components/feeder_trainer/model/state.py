"""Captures and restores everything that training changes in a model, as plain arrays."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.random.seed_generator import global_seed_generator

from tfx_feeder.common.errors import ConfigError

_COUNTER = re.compile(r"_\d+(?=/|_|$)")
"""Suffix of Keras for repeated layer names, which depends on the layers created earlier in the
process. In the name of an optimizer slot, as in ``adam/dense_1_kernel_momentum``, more follows."""

_NAME = re.compile(r"(.*?/\d{4}/)(.*)")
_ADDED_LATER = ("optimizers/", "random/")
"""Groups of variables that checkpoints of release 0.1.0 lack."""
_KERAS_OWN = ("_layers", "_tracked", "_tracker")

ArrayDict = dict[str, np.ndarray]


def capture(model: keras.Model) -> ArrayDict:
    """Copies the variables of model, optimizers and metrics, and Keras's global random state.

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
    arrays = {
        _NAME.sub(lambda match: _name(*match.groups()), name): array
        for name, array in arrays.items()
    }
    for name in variables.keys() - arrays.keys():
        if name.startswith(_ADDED_LATER):
            del variables[name]
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


def optimizers(model: keras.Model) -> dict[str, keras.optimizers.Optimizer]:
    """Returns the optimizers of a model beside ``model.optimizer``, such as the two of a GAN.

    Returns:
        Optimizers by the path of the attribute that holds them, in the model or in its parts.
    """
    found: dict[str, keras.optimizers.Optimizer] = {}
    seen = {id(model.optimizer)}

    def visit(path: str, value: Any) -> None:
        if id(value) in seen:
            return
        if isinstance(value, keras.optimizers.Optimizer):
            seen.add(id(value))
            found[path] = value
        elif isinstance(value, keras.Model):
            seen.add(id(value))
            for name, part in vars(value).items():
                if name not in _KERAS_OWN:
                    visit(f"{path}/{name}", part)
        elif isinstance(value, Mapping):
            for name, part in value.items():
                visit(f"{path}/{name}", part)
        elif isinstance(value, (list, tuple)):
            for index, part in enumerate(value):
                visit(f"{path}/{index}", part)

    visit("", model)
    return found


def _variables(model: keras.Model) -> dict[str, Any]:
    groups = {
        "model": model.variables,
        "optimizer": model.optimizer.variables,
        "metrics": model.metrics_variables,
        **{f"optimizers{path}": each.variables for path, each in optimizers(model).items()},
        # Random operations without a seed of their own draw from it. It has no public accessor.
        "random": [global_seed_generator().state],
    }
    return {
        _name(f"{group}/{index:04d}/", variable.path): variable
        for group, variables in groups.items()
        for index, variable in enumerate(variables)
    }


def _name(prefix: str, path: str) -> str:
    return prefix + _COUNTER.sub("", path)
