"""Sources of the records of a feed: their number, their order and a stream from any position."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.feeder_trainer.feed.record_index import FileIndex, records_in_order
from tfx_feeder.components.feeder_trainer.feed.sampler import Sampler, ShuffleSampler
from tfx_feeder.components.feeder_trainer.feed.sharding import FilePart
from tfx_feeder.components.feeder_trainer.feed.shuffling import (
    buffer_size_within,
    buffered_chunks,
    segment_blocks,
)

_STRING_BYTES = 24  # Overhead of TensorFlow per string.
_BLOCKS_AT_ONCE = 3  # One is trained on and the next is read; the rest is for chunks of them.
_IN_ORDER_CHUNK = 64


@dataclass(frozen=True, slots=True)
class ShuffleMemory:
    """Memory of the shuffling of a stream.

    Args:
        examples: Examples in a block at most; 0 keeps the order of the files.
        total_bytes: Bytes of all blocks that are in memory at once.
    """

    examples: int
    total_bytes: int = 1 << 62

    def block_size(self, record_bytes: float) -> int:
        """Returns the examples in a block.

        Args:
            record_bytes: Average length of a serialized record.
        """
        fitting = self.block_bytes / (record_bytes + _STRING_BYTES)
        return min(self.examples, max(1, int(fitting)))

    @property
    def block_bytes(self) -> int:
        """Bytes of a block, with TensorFlow's own of each string."""
        return self.total_bytes // _BLOCKS_AT_ONCE

    def fits(self, count: int, num_bytes: int) -> bool:
        """Returns True if records fit into a block.

        Args:
            count: Number of records.
            num_bytes: Length of all of them.
        """
        return num_bytes + count * _STRING_BYTES <= self.block_bytes

    def divided(self, parts: int) -> "ShuffleMemory":
        """Returns an equal part of the memory."""
        return ShuffleMemory(self.examples, self.total_bytes // parts)


class RecordSource(Protocol):
    """Records of a feed; ``TFRecordSource`` describes the arguments."""

    num_examples: int

    def first(self, count: int) -> tf.data.Dataset:
        """Returns the first records in the order of the files: strings ``[]``."""
        ...

    def sampler(self, seed: int, *, shuffle: bool) -> Sampler:
        """Returns the sampler of the records."""
        ...

    def stream(self, start: int, *, seed: int, memory: ShuffleMemory) -> tf.data.Dataset:
        """Returns the records of the stream from a position on: strings ``[chunk]``."""
        ...

    def describe(self, memory: ShuffleMemory) -> str:
        """Returns how the stream is shuffled, in a few words."""
        ...


class TFRecordSource:
    """Record source that reads TFRecord files of one or several splits.

    Args:
        files: Indexes of the files; their order defines the order of the records.

    Raises:
        DataError: There are no files, or no records in them.
    """

    def __init__(self, files: Sequence[FileIndex]) -> None:
        self.files = list(files)
        self.num_examples = sum(file.num_records for file in self.files)
        if not self.num_examples:
            raise DataError(
                f"The splits contain no examples: {[file.path for file in self.files]}."
            )
        self._seekable = not any(file.compression for file in self.files)
        self._record_bytes = sum(file.bytes_of_runs for file in self.files) / self.num_examples

    def part(self, part: FilePart) -> "TFRecordSource":
        """Returns the records that one of several processes reads.

        Args:
            part: Part of these records.
        """
        files, first = [], 0
        for file in self.files:
            begin = max(first, part.records.start)
            end = min(first + file.num_records, part.records.stop)
            if begin < end:
                files.append(file.part(range(begin - first, end - first)))
            first += file.num_records
        return TFRecordSource(files)

    def first(self, count: int) -> tf.data.Dataset:
        """Returns the first records in the order of the files: strings ``[]``.

        Args:
            count: Number of records; the files are repeated if they have fewer.
        """
        return records_in_order(self.files).repeat().take(count)

    def sampler(self, seed: int, *, shuffle: bool) -> ShuffleSampler:
        """Returns the order of an unbounded stream over the records in the files' order.

        Args:
            seed: Seed of the order.
            shuffle: If False, the order of the files is kept.
        """
        return ShuffleSampler(self.num_examples, seed, shuffle=shuffle)

    def stream(self, start: int, *, seed: int, memory: ShuffleMemory) -> tf.data.Dataset:
        """Returns the unbounded stream of records from a position: strings ``[chunk]``.

        The order is a function of ``(seed, pass)`` alone, and each pass holds each record once.

        Args:
            start: Position in examples.
            seed: Seed of the order.
            memory: Memory of the shuffling.
        """
        size = self._block_size(memory)
        if not size:
            records = records_in_order(self.files).repeat().skip(start % self.num_examples)
            chunk = ShuffleMemory(_IN_ORDER_CHUNK, memory.total_bytes)
            return records.batch(chunk.block_size(self._record_bytes))
        if self._seekable:
            limits = {"block_size": size, "block_bytes": memory.block_bytes}
            return segment_blocks(self.files, start, **limits, seed=seed)
        return buffered_chunks(self.files, start, buffer_size=size, seed=seed)

    def _block_size(self, memory: ShuffleMemory) -> int:
        """Returns the examples in a block, 0 to keep the order of the files."""
        size = memory.block_size(self._record_bytes)
        # A block of segments ends at its bytes as well; a buffer has one size.
        if self._seekable or not size:
            return size
        # TensorFlow reserves the whole buffer at once.
        return buffer_size_within(self.files, min(size, self.num_examples), memory.fits)

    def describe(self, memory: ShuffleMemory) -> str:
        """Returns how the stream is shuffled, in a few words.

        Args:
            memory: Memory of the shuffling.
        """
        size = self._block_size(memory)
        if not size:
            return "in the order of the files"
        mebibytes = size * self._record_bytes / (1 << 20)
        kind = "blocks of segments of the files" if self._seekable else "buffers"
        return f"shuffled in {kind}, of {size:,} examples ({mebibytes:,.1f} MiB)"
