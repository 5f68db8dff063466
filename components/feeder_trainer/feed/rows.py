"""Rows of a batch whose tensors are dense, ragged or sparse."""

from typing import Any

import numpy as np
import tensorflow as tf


def batch_of_tensors(batch: Any) -> Any:
    """Returns a batch in which every array is a tensor, which a graph can slice by tensors.

    Args:
        batch: Nested arrays and tensors ``[batch, ...]`` of any kind; ``None`` elements are kept.
    """

    def convert(array: Any) -> Any:
        return tf.convert_to_tensor(array) if isinstance(array, np.ndarray) else array

    return tf.nest.map_structure(convert, batch)


def count_rows(batch: Any) -> tf.Tensor:
    """Returns the number of examples in a batch, int32 ``[]``.

    Args:
        batch: Nested tensors ``[batch, ...]`` of any kind; ``None`` elements are ignored.
    """
    tensor = next(tensor for tensor in tf.nest.flatten(batch) if tensor is not None)
    if isinstance(tensor, tf.SparseTensor):
        return tf.cast(tensor.dense_shape[0], tf.int32)
    if isinstance(tensor, tf.RaggedTensor):
        return tf.cast(tensor.nrows(), tf.int32)
    return tf.shape(tensor)[0]


def take_rows(batch: Any, start: Any, stop: Any) -> Any:
    """Returns the examples from ``start`` up to ``stop`` of every tensor in a batch.

    A sparse tensor keeps the size of its other dimensions, which is that of the longest example in
    the whole batch.

    Args:
        batch: Nested tensors ``[batch, ...]`` of any kind; ``None`` elements are kept.
        start: First example, int32 ``[]``.
        stop: End of the examples, exclusive, int32 ``[]``.
    """

    def take(tensor: Any) -> Any:
        if tensor is None:
            return None
        if not isinstance(tensor, tf.SparseTensor):
            return tensor[start:stop]
        first, end = tf.cast(start, tf.int64), tf.cast(stop, tf.int64)
        shape = tensor.dense_shape
        begin = tf.concat([[first], tf.zeros_like(shape[1:])], axis=0)
        size = tf.concat([[end - first], shape[1:]], axis=0)
        part = tf.sparse.slice(tensor, begin, size)
        part.set_shape([None, *tensor.shape[1:]])
        return part

    return tf.nest.map_structure(take, batch)


def repeated_rows(batch: Any) -> Any:
    """Returns a batch that holds every example twice.

    Args:
        batch: Nested tensors ``[batch, ...]`` of any kind; ``None`` elements are kept.
    """

    def repeat(tensor: Any) -> Any:
        if isinstance(tensor, tf.SparseTensor):
            return tf.sparse.concat(0, [tensor, tensor])
        return None if tensor is None else tf.concat([tensor, tensor], axis=0)

    return tf.nest.map_structure(repeat, batch)


def at_least_one_row(batch: Any, example: Any) -> Any:
    """Returns a batch as it is, or the given example if it is empty.

    Args:
        batch: Nested tensors ``[batch, ...]`` of any kind; ``None`` elements are kept.
        example: The same structure with one example.
    """
    return tf.nest.map_structure(_at_least_one, batch, example)


def _at_least_one(tensor: Any, example: Any) -> Any:
    if tensor is None:
        return None
    missing = 1 - tf.minimum(count_rows(tensor), 1)
    part = take_rows(example, 0, missing)
    if not isinstance(tensor, tf.SparseTensor):
        return tf.concat([tensor, part], axis=0)
    # One of the two has no values. tf.sparse.concat would pad one to the size of the other.
    filled = tf.SparseTensor(
        tf.concat([tensor.indices, part.indices], axis=0),
        tf.concat([tensor.values, part.values], axis=0),
        tf.where(missing > 0, part.dense_shape, tensor.dense_shape),
    )
    filled.set_shape([None, *tensor.shape[1:]])
    return filled


def dataset_of_one(batch: Any) -> tf.data.Dataset:
    """Returns a dataset of one batch, with the element spec that a feed would have.

    Args:
        batch: Nested tensors ``[batch, ...]`` of any kind.
    """
    spec = with_unknown_batch_size(tf.nest.map_structure(tf.type_spec_from_value, batch))
    return tf.data.Dataset.from_generator(lambda: iter([batch]), output_signature=spec)


def with_unknown_batch_size(spec: Any) -> Any:
    """Returns nested ``tf.TypeSpec`` with an unknown batch dimension.

    Args:
        spec: Nested specs of tensors ``[batch, ...]`` of any kind.
    """

    def opened(each: Any) -> Any:
        if isinstance(each, tf.RaggedTensorSpec):
            return tf.RaggedTensorSpec(
                [None, *each.shape[1:]],
                each.dtype,
                ragged_rank=each.ragged_rank,
                row_splits_dtype=each.row_splits_dtype,
            )
        if isinstance(each, (tf.TensorSpec, tf.SparseTensorSpec)):
            return type(each)([None, *each.shape[1:]], each.dtype)
        return each

    return tf.nest.map_structure(opened, spec)
