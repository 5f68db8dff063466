"""Tensors of many shapes as one vector per data type, so that they are transferred at once."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def pack(tensors: Any) -> list[tf.Tensor]:
    """Returns the values of nested tensors as one vector per data type, by first occurrence.

    Args:
        tensors: Nested dense tensors of any shapes.
    """
    groups: dict[tf.DType, list[tf.Tensor]] = {}
    for tensor in tf.nest.flatten(tensors):
        groups.setdefault(tensor.dtype, []).append(tf.reshape(tensor, [-1]))
    return [tf.concat(group, axis=0) for group in groups.values()]


def unpack(vectors: Sequence[tf.Tensor], specs: Any) -> Any:
    """Returns the nested tensors that ``pack`` was called with.

    Args:
        vectors: Vectors that ``pack`` returned, or sums of such vectors.
        specs: Nested ``tf.TensorSpec`` with static shapes, one for each tensor.
    """
    flat = tf.nest.flatten(specs)
    by_type = dict(zip(dict.fromkeys(spec.dtype for spec in flat), vectors, strict=True))
    begin = dict.fromkeys(by_type, 0)
    tensors = []
    for spec in flat:
        first = begin[spec.dtype]
        begin[spec.dtype] = end = first + spec.shape.num_elements()
        tensors.append(tf.reshape(by_type[spec.dtype][first:end], spec.shape))
    return tf.nest.pack_sequence_as(specs, tensors)
