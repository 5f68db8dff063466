"""Feed that decodes once and gathers each batch from arrays of all examples.

The arrays are memory maps, anonymous or of a file, which TensorFlow reads in place. Nothing is
held twice, and the same gather serves both.
"""

import math
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
from tfx_feeder.components.feeder_trainer.feed.parsing import tensor_bytes
from tfx_feeder.components.feeder_trainer.feed.record_source import RecordSource
from tfx_feeder.components.feeder_trainer.feed.sampler import batch_blocks
from tfx_feeder.components.feeder_trainer.feed.sharding import FilePart, Shard

_MIN_ROWS = 1024


class CachedFeed(Feed):
    """Feed of decoded examples in memory or on disk.

    Args:
        records: Records of this process, from which the examples were read.
        examples: Examples in the order of the files; see ``load_examples``.
        options: Seed, shuffling and prefetching.
        shuffle: If False, the order of the files is kept.
        shard: Shard of each batch of the records that this process receives.
        part: Part of all examples that the records are.
    """

    def __init__(
        self,
        records: RecordSource,
        examples: Any,
        options: FeedOptions,
        *,
        shuffle: bool,
        shard: Shard,
        part: FilePart,
    ) -> None:
        self.num_examples = part.num_examples
        self.order = part.name
        self._part = part
        self._records = records
        self._options = options
        self._shard = shard
        self._shuffle = shuffle and options.shuffle_buffer > 0
        self._examples = examples

    def batches(self, epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
        """See ``Feed``."""
        sampler = self._records.sampler(self._options.seed, shuffle=self._shuffle)
        blocks = tf.data.Dataset.from_generator(
            lambda: batch_blocks(sampler, epochs, batch_size, self._part),
            output_signature=tf.TensorSpec([None, None], tf.int64),
        )
        rows = blocks.flat_map(tf.data.Dataset.from_tensor_slices)
        batches = rows.map(self._gather)
        return batches.prefetch(self._options.prefetch or tf.data.AUTOTUNE)

    def stage_datasets(self, batch_size: int) -> dict[str, tf.data.Dataset]:
        """See ``Feed``."""
        return {"gathering": self.batches([UNBOUNDED_EPOCH], batch_size)}

    @tf.autograph.experimental.do_not_convert
    def _gather(self, indices: tf.Tensor) -> tuple:
        rows = self._shard.slice(indices)
        return tf.nest.map_structure(lambda tensor: tf.gather(tensor, rows), self._examples)


def load_examples(
    batches: Iterable[Any], folder: str | None = None, limit_bytes: float = math.inf
) -> Any | None:
    """Copies consecutive batches into arrays of all examples.

    Args:
        batches: Structures of dense tensors ``[batch, ...]``, equal in shape except for ``batch``.
        folder: Folder of the files that back the arrays; ``None`` keeps them in memory. The files
            have no name, so they vanish with the process even if it is killed.
        limit_bytes: Largest size of all arrays.

    Returns:
        The same structure of tensors ``[examples, ...]``; ``None`` if it exceeds the limit.

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
                _StringColumn() if t.dtype == tf.string else _Column(t, folder) for t in tensors
            ]
        for column, tensor in zip(columns, tensors, strict=True):
            column.append(tensor)
        if sum(column.num_bytes for column in columns) > limit_bytes:
            return None
    return tf.nest.pack_sequence_as(structure, [column.tensor() for column in columns])


class _Column:
    """Feature of fixed size in a memory map that grows."""

    def __init__(self, like: tf.Tensor, folder: str | None) -> None:
        self._shape = tuple(like.shape.as_list()[1:])
        self._dtype = np.dtype(like.dtype.as_numpy_dtype)
        self._row_bytes = int(np.prod(self._shape)) * self._dtype.itemsize
        self._folder = folder
        self._file = None if folder is None else tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._capacity = _MIN_ROWS
        size = self._reserved(self._capacity)
        # A private map, because a shared one without a file cannot grow.
        self._memory = (
            mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            if self._file is None
            else mmap.mmap(self._file.fileno(), size)
        )
        self._filled = 0

    @property
    def num_bytes(self) -> int:
        return self._filled * self._row_bytes

    def append(self, tensor: tf.Tensor) -> None:
        end = self._filled + tensor.shape[0]
        if end > self._capacity:
            self._resize(max(end, 2 * self._capacity))
        self._rows(end)[self._filled :] = tensor.numpy()
        self._filled = end

    def tensor(self) -> tf.Tensor:
        self._resize(self._filled)
        if self._file is not None:
            os.ftruncate(self._file.fileno(), max(1, self.num_bytes))
            self._file.close()
        # DLPack shares the memory; convert_to_tensor would copy it.
        return tf.experimental.dlpack.from_dlpack(self._rows(self._filled).__dlpack__())

    def _rows(self, count: int) -> np.ndarray:
        return np.ndarray((count, *self._shape), self._dtype, buffer=self._memory)

    def _resize(self, capacity: int) -> None:
        self._memory.resize(self._reserved(capacity))
        self._capacity = capacity

    def _reserved(self, capacity: int) -> int:
        """Returns the bytes of some rows, after reserving them in the file."""
        size = max(1, capacity * self._row_bytes)
        if self._file is not None:
            try:
                # Reserved: running out of disk space later would kill the process (SIGBUS).
                os.posix_fallocate(self._file.fileno(), 0, size)
            except OSError as error:
                raise DataError(
                    f"{self._folder} lacks the space for {size:,} bytes of decoded examples: "
                    f"{error}"
                ) from error
        return size


class _StringColumn:
    """Feature of strings, which only TensorFlow's own memory can hold."""

    def __init__(self) -> None:
        self._parts: list[tf.Tensor] = []
        self.num_bytes = 0

    def append(self, tensor: tf.Tensor) -> None:
        self._parts.append(tensor)
        self.num_bytes += int(tensor_bytes(tensor))

    def tensor(self) -> tf.Tensor:
        return tf.concat(self._parts, axis=0)
