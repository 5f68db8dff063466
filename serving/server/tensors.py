"""Tensor protos and arrays."""

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2

from tfx_feeder.serving.server.errors import invalid

_BYTES_OF_STRING = 8
"""Bytes of a pointer in an array of objects."""


def to_array(name: str, tensor: tensor_pb2.TensorProto, most_bytes: int) -> np.ndarray:
    """Returns the values of a tensor.

    Args:
        name: Name of the input, for errors.
        tensor: Tensor of any type but resources and variants.
        most_bytes: Largest size of the array. A tensor may hold one value that stands for all, so
            that a few bytes claim any size.

    Raises:
        ServingError: The tensor is malformed or too large.
    """
    try:
        dtype = tf.as_dtype(tensor.dtype)
        numpy_type = dtype.as_numpy_dtype
    except (TypeError, KeyError):
        raise invalid(f"input {name!r}: no type of tensors has number {tensor.dtype}") from None
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_shape.unknown_rank or any(size < 0 for size in sizes):
        raise invalid(f"input {name!r}: its shape is not known")
    values = math.prod(sizes)
    item = _BYTES_OF_STRING if dtype == tf.string else np.dtype(numpy_type).itemsize
    if values * item > most_bytes:
        raise invalid(f"input {name!r}: a shape of {sizes} is larger than {most_bytes:,} bytes")
    content = tensor.tensor_content
    try:
        if content and dtype != tf.string:
            return np.frombuffer(content, numpy_type).reshape(sizes)
        if dtype == tf.string and len(tensor.string_val) == values:
            array = np.empty(values, object)
            array[:] = list(tensor.string_val)
            return array.reshape(sizes)
        return tf.make_ndarray(tensor)
    except (TypeError, ValueError) as error:
        raise invalid(f"input {name!r}: {error}") from error


def to_proto(array: np.ndarray) -> tensor_pb2.TensorProto:
    """Returns a tensor with the values of an array, text as bytes."""
    if array.dtype.kind in "OSU":
        return tf.make_tensor_proto(array, tf.string)
    shape = tensor_shape_pb2.TensorShapeProto(
        dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in array.shape]
    )
    return tensor_pb2.TensorProto(
        dtype=tf.as_dtype(array.dtype).as_datatype_enum,
        tensor_shape=shape,
        tensor_content=array.tobytes(),
    )


def check_batch(arrays: Mapping[str, np.ndarray]) -> int:
    """Returns the number of rows that all arrays have.

    Raises:
        ServingError: An array has no rows, or another number of them.
    """
    sizes = {name: len(array) if array.ndim else None for name, array in arrays.items()}
    if len(set(sizes.values())) != 1 or None in sizes.values():
        raise invalid(f"tensors have no common first dimension: {sizes}")
    return next(iter(sizes.values())) or 0
