"""Feed that decodes once and gathers each batch from arrays of all examples.

The arrays are memory maps, anonymous or of a file, which TensorFlow reads in place. Nothing is
held twice, and the same gather serves both.
"""

import mmap
import os
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.feeder_trainer.feed.base import UNBOUNDED_EPOCH, Feed
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser, parsed_batches
from tfx_feeder.components.feeder_trainer.feed.sampler import batch_blocks
from tfx_feeder.components.feeder_trainer.feed.sharding import Shard
from tfx_feeder.components.feeder_trainer.feed.tfrecord import RecordSource


class CachedFeed(Feed):
    """Feed of decoded examples in memory or on disk.

    Args:
        records: Records, read once by the constructor.
        parser: Parser of the records; all features must be dense.
        options: Seed, shuffling and prefetching.
        shuffle: If False, the order of the files is kept.
        folder: Folder of the files that hold the examples; ``None`` keeps them in memory.
        shard: Part of each global batch that this process receives.

    Raises:
        DataError: The folder lacks the space for the examples.
    """

    def __init__(
        self,
        records: RecordSource,
        parser: ExampleParser,
        options: FeedOptions,
        *,
        shuffle: bool,
        folder: str | None = None,
        shard: Shard,
    ) -> None:
        self.num_examples = records.num_examples
        self._records = records
        self._options = options
        self._shard = shard
        self._shuffle = shuffle and options.shuffle_buffer > 0
        batches = parsed_batches(records.in_order(), parser)
        self._examples = _load_arrays(batches, self.num_examples, folder)

    def batches(self, epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
        """See ``Feed``."""
        sampler = self._records.sampler(self._options.seed, shuffle=self._shuffle)
        blocks = tf.data.Dataset.from_generator(
            lambda: batch_blocks(sampler, epochs, batch_size),
            output_signature=tf.TensorSpec([None, None], tf.int64),
        )
        rows = blocks.flat_map(tf.data.Dataset.from_tensor_slices)
        batches = rows.map(self._gather)
        return batches.prefetch(self._options.prefetch or tf.data.AUTOTUNE)

    def stage_datasets(self, batch_size: int) -> dict[str, tf.data.Dataset]:
        """See ``Feed``."""
        return {"gathering": self.batches([UNBOUNDED_EPOCH], batch_size)}

    def _gather(self, indices: tf.Tensor) -> tuple:
        rows = self._shard.slice(indices)
        return tf.nest.map_structure(lambda tensor: tf.gather(tensor, rows), self._examples)


def _load_arrays(batches: Iterable[Any], num_examples: int, folder: str | None) -> Any:
    """Copies consecutive batches into arrays of all examples.

    Args:
        batches: Structures of dense tensors ``[batch, ...]``, equal in shape except for ``batch``.
        num_examples: Examples in all batches.
        folder: Folder of the files that back the arrays; ``None`` keeps them in memory. The files
            have no name, so they vanish with the process even if it is killed.

    Returns:
        The same structure of tensors ``[num_examples, ...]``.

    Raises:
        DataError: The folder lacks the space for the arrays.
    """
    columns: list[_Column | _StringColumn] = []
    structure: Any = None
    for batch in batches:
        tensors = tf.nest.flatten(batch)
        if not columns:
            structure = batch
            columns = [
                _StringColumn() if t.dtype == tf.string else _Column(t, num_examples, folder)
                for t in tensors
            ]
        for column, tensor in zip(columns, tensors, strict=True):
            column.append(tensor)
    return tf.nest.pack_sequence_as(structure, [column.tensor() for column in columns])


class _Column:
    """Feature of fixed size in a memory map."""

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


class _StringColumn:
    """Feature of strings, which only TensorFlow's own memory can hold."""

    def __init__(self) -> None:
        self._parts: list[tf.Tensor] = []

    def append(self, tensor: tf.Tensor) -> None:
        self._parts.append(tensor)

    def tensor(self) -> tf.Tensor:
        return tf.concat(self._parts, axis=0)


def _map_file(folder: str, size: int) -> mmap.mmap:
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            # Reserved in advance: running out of disk space later would kill the process (SIGBUS).
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise DataError(
                f"{folder} lacks the space for {size:,} bytes of decoded examples: {error}"
            ) from error
        return mmap.mmap(file.fileno(), size)
