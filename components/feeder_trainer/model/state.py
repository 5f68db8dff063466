"""Captures and restores everything that training changes in a model, as plain arrays."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.random.seed_generator import global_seed_generator
from keras.src.utils.naming import reset_uids

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
    running metrics, and the ``tf.Variable`` attributes of the model and its parts.

    Returns:
        Array of each variable by a name that contains the variable's index, because paths are not
        unique.
    """
    arrays = {
        name: keras.ops.convert_to_numpy(v).copy() for name, v in _keras_variables(model).items()
    }
    return arrays | {f"{_PLAIN}{path}": array for path, array in plain_values(model).items()}


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
    refresh_constants(model)


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


def plain_variables(model: keras.Model) -> dict[str, tf.Variable]:
    """Returns the ``tf.Variable`` attributes of a model and its parts, which Keras leaves out.

    A model's own ``train_step`` may keep a counter or a running mean in one, and so may a layer, a
    loss, a metric or an optimizer. Variables of texts are left out.
    """
    tracked = {id(variable.value) for variable in _keras_variables(model).values()}
    found: dict[str, tf.Variable] = {}
    for path, value in _parts(model):
        if isinstance(value, tf.Variable) and id(value) not in tracked:
            is_number = value.dtype.is_floating or value.dtype.is_integer or value.dtype.is_bool
            if is_number and value.shape.is_fully_defined():
                found[path] = value
    return found


def plain_values(model: keras.Model) -> ArrayDict:
    """Returns the values of ``plain_variables``."""
    variables = plain_variables(model)
    # Not every variable of replicas has the method ``numpy``.
    return {path: np.array(tf.convert_to_tensor(v)) for path, v in variables.items()}


def layer_statistics(model: keras.Model) -> list[keras.Variable]:
    """Returns the float weights that no optimizer updates, such as moving averages.

    Those of frozen layers, which do not change, are left out.
    """
    layers = layers_of(model)
    # A weight belongs to the innermost of the layers that have it, which come last.
    layers.sort(key=lambda layer: len(layer.variables), reverse=True)
    owners = {id(weight): layer for layer in layers for weight in layer.variables}
    return [
        weight
        for weight in model.non_trainable_weights
        if owners[id(weight)].trainable and keras.backend.is_float_dtype(weight.dtype)
    ]


def reset_random_state(seed: int) -> None:
    """Seeds Python, NumPy, TensorFlow and Keras, and counts names anew, as in a new process.

    Otherwise the metric ``AUC()`` of a later model would be ``auc_1``: a callback that monitors
    ``val_auc`` would not find it.

    Args:
        seed: Seed, below 2**32.
    """
    reset_uids()
    state = global_seed_generator().state  # Draws from Python's generator if it is made now.
    keras.utils.set_random_seed(seed)
    # Keras keeps the state of an earlier training in this process.
    state.assign(np.array([seed, 0], np.uint32))


def refresh_constants(model: keras.Model) -> bool:
    """Recomputes the constants that layers derive from their variables.

    ``Normalization`` and the lookup layers with ``output_mode="tf_idf"`` compute with them: they
    have to follow variables that are restored or assigned. A traced function keeps the old ones.

    Returns:
        True if a layer has such constants.
    """
    layers = [
        layer
        for _, layer in _parts(model)
        if isinstance(layer, keras.layers.Normalization)
        or (
            isinstance(layer, (keras.layers.StringLookup, keras.layers.IntegerLookup))
            and layer.output_mode == "tf_idf"
        )
    ]
    for layer in layers:
        layer.finalize_state()
    return bool(layers)


def layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns the model and the layers in it, also those in containers of its attributes."""
    return [part for _, part in _parts(model) if isinstance(part, keras.layers.Layer)]


def _parts(model: keras.Model) -> Iterator[tuple[str, Any]]:
    """Yields the layers, metrics, optimizers and variables of TensorFlow in a model, with paths."""
    seen: set[int] = set()
    pending: list[tuple[str, Any]] = [("", model)]
    while pending:
        path, value = pending.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        parts: list[tuple[str, Any]]
        if isinstance(value, tf.Variable):
            yield path, value
            continue
        if isinstance(value, keras.losses.Loss):
            # Keras does not track the variables of a loss.
            parts = [(name, _without_keras(part)) for name, part in vars(value).items()]
        elif isinstance(value, (keras.layers.Layer, keras.Metric, keras.Optimizer)):
            yield path, value
            parts = [(name, part) for name, part in vars(value).items() if name not in _KERAS_OWN]
            layers = enumerate(getattr(value, "layers", ()))
            parts += [(f"layers/{index}", layer) for index, layer in layers]
        else:
            parts = [(str(name), part) for name, part in _items(value)]
        pending += [(f"{path}/{name}", part) for name, part in reversed(parts)]


def _without_keras(value: Any) -> Any:
    """Returns the variable of TensorFlow in a variable or a seed generator of Keras."""
    value = value.state if isinstance(value, keras.random.SeedGenerator) else value
    return value.value if isinstance(value, keras.Variable) else value


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yields the parts of a container with their names."""
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, (list, tuple)):
        yield from enumerate(value)


def _variables(model: keras.Model) -> dict[str, Any]:
    plain = {f"{_PLAIN}{path}": variable for path, variable in plain_variables(model).items()}
    return {**_keras_variables(model), **plain}


def _keras_variables(model: keras.Model) -> dict[str, keras.Variable]:
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
