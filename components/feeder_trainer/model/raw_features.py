"""Finds the raw features that transformed features depend on."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import tensorflow as tf

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def required_raw_features(
    spec: Mapping[str, Any],
    transform: Callable[[dict[str, Any]], Mapping[str, Any]],
    model_features: Collection[str],
) -> dict[str, Any]:
    """Returns the specs of the raw features that the inputs of the model depend on.

    Prediction requests lack the other features, such as an id or the source of the label.

    The transform is traced once, and its graph is walked from the features of the model back to
    the parsed features, through the body of the transform's function. Like TensorFlow Transform,
    the walk takes an operation, including a function call in that body, as a whole and ignores
    control dependencies.

    Args:
        spec: ``tf.io`` spec of each raw feature by its name.
        transform: Function from a subset of the raw features to the transformed features that
            depend on this subset only.
        model_features: Features that reach the model.
    """
    sources: dict[str, str] = {}  # Raw feature of each parsed tensor, by the tensor's name.
    wanted: list[str] = []

    def trace(serialized: tf.Tensor) -> None:
        parsed = tf.io.parse_example(serialized, dict(spec))
        for name, value in parsed.items():
            # An operation of its own, because one operation parses all features.
            parsed[name] = tf.nest.map_structure(tf.identity, value, expand_composites=True)
            sources.update((tensor.op.name, name) for tensor in _components(parsed[name]))
        transformed = transform(parsed)
        for name in model_features:
            wanted.extend(tensor.name for tensor in _components(transformed[name]))

    # Tracing is enough: nothing is computed.
    traced = tf.function(trace, autograph=False).get_concrete_function(
        tf.TensorSpec([None], tf.string)
    )
    found = {sources[name] for name in _reached(traced.graph.as_graph_def(), wanted, set(sources))}
    # A parser needs a feature even if the model's inputs are constants.
    return {name: spec[name] for name in spec if name in found} or dict(list(spec.items())[-1:])


def _components(value: Any) -> list[tf.Tensor]:
    return tf.nest.flatten(value, expand_composites=True)


def _reached(
    graph: tf.compat.v1.GraphDef, wanted: Iterable[str], sources: Collection[str]
) -> set[str]:
    """Returns the sources that the wanted tensors depend on.

    Args:
        graph: Graph with its library of functions.
        wanted: Names of tensors.
        sources: Names of the operations where the walk ends.
    """
    edges, calls = _edges(graph)
    pending = [_key(name, calls) for name in wanted]
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending.extend(() if name in sources else edges[name])
    return seen.intersection(sources)


def _edges(graph: tf.compat.v1.GraphDef) -> tuple[dict[str, list[str]], Collection[str]]:
    """Returns the inputs of each node, with function calls replaced by their bodies, and the calls.

    A node is an operation, or an output of a call: ``call:port``. Operations of the body of a call
    are named ``call//operation``.
    """
    functions = {function.signature.name: function for function in graph.library.function}
    calls = {
        node.name: functions[node.attr["f"].func.name] for node in graph.node if node.op in _CALLS
    }
    edges: dict[str, list[str]] = {}
    for node in graph.node:
        inputs = [_key(name, calls) for name in _data_inputs(node)]
        if node.name not in calls:
            edges[node.name] = inputs
            continue
        signature, body = calls[node.name].signature, f"{node.name}//"
        for argument, source in zip(signature.input_arg, inputs, strict=True):
            edges[body + argument.name] = [source]
        for inner in calls[node.name].node_def:
            edges[body + inner.name] = [body + _operation(name) for name in _data_inputs(inner)]
        for port, output in enumerate(signature.output_arg):
            result = _operation(calls[node.name].ret[output.name])
            edges[f"{node.name}:{port}"] = [body + result]
    return edges, calls


def _key(tensor: str, calls: Collection[str]) -> str:
    name, _, port = tensor.partition(":")
    return f"{name}:{port or 0}" if name in calls else name


def _operation(tensor: str) -> str:
    return tensor.partition(":")[0]


def _data_inputs(node: Any) -> list[str]:
    return [name for name in node.input if not name.startswith("^")]
