"""Decoded examples in one array per feature, in memory or in memory-mapped files.

Either way the array is a memory map that TensorFlow reads in place, so that nothing is held twice
and the same gather serves both.
"""

import mmap
import os
import tempfile
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import DataError


def load_arrays(batches: Iterable[Any], num_examples: int, folder: str | None) -> Any:
    """Copies batches, one after the other, into arrays of all examples.

    Args:
        batches: Structures of dense tensors ``[batch, ...]``, of the same shapes but for ``batch``.
        num_examples: Examples in all batches together.
        folder: Where the files go that back the arrays; ``None`` keeps them in memory. The files
            have no name: nothing is left of them when the process ends, however it ends.

    Returns:
        The same structure, of tensors ``[num_examples, ...]``.

    Raises:
        DataError: The folder has no room for them.
    """
    columns: list[_Column | _Strings] = []
    structure: Any = None
    for batch in batches:
        tensors = tf.nest.flatten(batch)
        if not columns:
            structure = batch
            columns = [_column(tensor, num_examples, folder) for tensor in tensors]
        for column, tensor in zip(columns, tensors, strict=True):
            column.append(tensor)
    return tf.nest.pack_sequence_as(structure, [column.tensor() for column in columns])


class _Column:
    """A feature of fixed size, in a memory map."""

    def __init__(self, like: tf.Tensor, num_examples: int, folder: str | None) -> None:
        shape = (num_examples, *like.shape.as_list()[1:])
        dtype = np.dtype(like.dtype.as_numpy_dtype)
        size = max(1, int(np.prod(shape)) * dtype.itemsize)
        memory = mmap.mmap(-1, size) if folder is None else _map_file(folder, size)
        self._array = np.ndarray(shape, dtype, buffer=memory)
        self._filled = 0

    def append(self, tensor: tf.Tensor) -> None:
        values = tensor.numpy()
        stop = self._filled + len(values)
        self._array[self._filled : stop] = values
        self._filled = stop

    def tensor(self) -> tf.Tensor:
        # DLPack shares the memory; convert_to_tensor would copy it.
        return tf.experimental.dlpack.from_dlpack(self._array.__dlpack__())


class _Strings:
    """A feature of strings, which only TensorFlow's own memory can hold."""

    def __init__(self) -> None:
        self._pieces: list[tf.Tensor] = []

    def append(self, tensor: tf.Tensor) -> None:
        self._pieces.append(tensor)

    def tensor(self) -> tf.Tensor:
        return tf.concat(self._pieces, axis=0)


def _column(like: tf.Tensor, num_examples: int, folder: str | None) -> _Column | _Strings:
    return _Strings() if like.dtype == tf.string else _Column(like, num_examples, folder)


def _map_file(folder: str, size: int) -> mmap.mmap:
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            # Reserved now, because a full disk found later would kill the process by SIGBUS.
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise DataError(
                f"{folder} has no room for {size:,} bytes of decoded examples: {error}"
            ) from error
        return mmap.mmap(file.fileno(), size)
