"""Examples in the JSON of TensorFlow Serving's ``:classify`` and ``:regress``."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import input_pb2

from tfx_feeder.serving.server.errors import invalid
from tfx_feeder.serving.server.json_tensors import decode_b64

_INT64 = range(-(2**63), 2**63)


def read_examples(body: Mapping[str, Any]) -> input_pb2.Input:
    """Returns the examples of a request.

    Args:
        body: Object with ``examples``, and ``context`` with the features that all of them have.

    Raises:
        ServingError: A value is no feature.
    """
    examples = body.get("examples")
    if not isinstance(examples, list) or not examples:
        raise invalid("'examples' must be a list of at least one object")
    found = input_pb2.Input()
    parsed = [_example(each) for each in examples]
    if "context" in body:
        found.example_list_with_context.context.CopyFrom(_example(body["context"]))
        found.example_list_with_context.examples.extend(parsed)
    else:
        found.example_list.examples.extend(parsed)
    return found


def _example(features: Any) -> tf.train.Example:
    if not isinstance(features, dict):
        raise invalid("an example must be an object with a value for each feature")
    example = tf.train.Example()
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        _fill(example.features.feature[name], name, values)
    return example


def _fill(feature: tf.train.Feature, name: str, values: list[Any]) -> None:
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        if not all(value in _INT64 for value in values):
            raise invalid(f"feature {name!r}: an integer has more than 64 bits")
        feature.int64_list.value.extend(values)
    elif all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        feature.float_list.value.extend(values)
    elif all(isinstance(value, str) for value in values):
        feature.bytes_list.value.extend(value.encode() for value in values)
    elif all(isinstance(value, dict) and set(value) == {"b64"} for value in values):
        feature.bytes_list.value.extend(decode_b64(value) for value in values)
    else:
        raise invalid(f"feature {name!r}: expected numbers, text or {{'b64': …}}, all of one kind")
