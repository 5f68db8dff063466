"""Captures and restores everything that training changes in a model, as plain arrays."""

import re
from collections.abc import Iterator, Mapping, Sequence
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
_PLAIN = "tensorflow"
_ADDED_LATER = ("optimizers/", "random/", f"{_PLAIN}/")
"""Groups of variables that checkpoints of release 0.1.0 lack."""
_KERAS_OWN = ("_layers", "_tracked", "_tracker")

ArrayDict = dict[str, np.ndarray]


def capture(model: keras.Model) -> ArrayDict:
    """Copies the variables of model, optimizers and metrics, and Keras's global random state.

    They include weights, random number states, optimizer slots, iteration count, learning rate and
    running metrics, and the ``tf.Variable`` attributes of the model and its layers.

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
    for name in [name for name in arrays if name.startswith(f"{_PLAIN}/")]:
        if name not in variables:  # Made after the restart, for example by a callback.
            del arrays[name]
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
        if getattr(variable, "aggregation", None) == "sum" and _is_replicated(variable):
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
        else:
            for name, part in _items(value):
                visit(f"{path}/{name}", part)

    visit("", model)
    return found


def _plain_variables(model: keras.Model) -> dict[str, tf.Variable]:
    """Returns the ``tf.Variable`` attributes of a model and its layers, which Keras leaves out.

    A model's own ``train_step`` may keep a counter or a running mean in one. Variables of several
    replicas are left out, and those of texts.
    """
    found: dict[str, tf.Variable] = {}
    seen = {id(variable.value) for variable in model.variables}

    def visit(path: str, value: Any) -> None:
        if id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, tf.Variable):
            is_number = value.dtype.is_floating or value.dtype.is_integer or value.dtype.is_bool
            is_local = not isinstance(value, tf.distribute.DistributedValues)
            if is_number and is_local and value.shape.is_fully_defined():
                found[path] = value
        elif isinstance(value, keras.layers.Layer):
            for name, part in vars(value).items():
                if name not in _KERAS_OWN:
                    visit(f"{path}/{name}", part)
            for index, layer in enumerate(getattr(value, "layers", ())):
                visit(f"{path}/layers/{index}", layer)
        else:
            for name, part in _items(value):
                visit(f"{path}/{name}", part)

    visit("", model)
    return found


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yields the parts of a container with their names."""
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, (list, tuple)):
        yield from enumerate(value)


def _variables(model: keras.Model) -> dict[str, Any]:
    groups = {
        "model": model.variables,
        "optimizer": model.optimizer.variables,
        "metrics": model.metrics_variables,
        **{f"optimizers{path}": each.variables for path, each in optimizers(model).items()},
        # Random operations without a seed of their own draw from it. It has no public accessor.
        "random": [global_seed_generator().state],
    }
    keras_variables = {
        _name(f"{group}/{index:04d}/", variable.path): variable
        for group, variables in groups.items()
        for index, variable in enumerate(variables)
    }
    plain = {f"{_PLAIN}{path}": variable for path, variable in _plain_variables(model).items()}
    return {**keras_variables, **plain}


def _name(prefix: str, path: str) -> str:
    return prefix + _COUNTER.sub("", path)
