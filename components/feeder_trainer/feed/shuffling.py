"""Shuffled streams of records of bounded memory, whose order is a function of (seed, pass).

Uncompressed files are cut into segments of consecutive records. Each pass draws the segments in a
new order and shuffles the records of as many segments as fit into a block, so a block holds records
from everywhere in the data, and its borders differ from pass to pass. A resumed stream begins with
the block of its position.

Compressed files can only be read from their beginning. Each pass reads the files in a new order,
several at a time, through a shuffle buffer.

In both cases two buffers take turns: one is filled while the batches are taken from the other, also
at the border of two passes.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.record_index import FileIndex, file_runs
from tfx_feeder.components.feeder_trainer.feed.tfdata import NUM_THREADS
from tfx_feeder.components.feeder_trainer.feed.tfrecord import open_run

_shuffled = tf.random.experimental.stateless_shuffle
_SEGMENTS_PER_BLOCK = 256
_MIN_SEGMENT_BYTES = 1 << 16
_MAX_SEGMENT_BYTES = 1 << 22
_OPEN_FILES = 8
_INTERLEAVED_BYTES = 1 << 18
_MAX_INTERLEAVED = 16
_CHUNK_BYTES = 1 << 20
_MAX_CHUNK_SIZE = 1024
_UNLIMITED_KIB = 1 << 31


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """Segments of uncompressed files, and the blocks that each pass makes of them.

    Args:
        files: File of each segment, int64 ``[segments]``.
        offsets: Position of each segment in its file, in bytes.
        skipped: Records at the beginning of each segment that are left out.
        counts: Records in each segment.
        sizes: Bytes of each segment.
        block_size: Records in a block; a block ends with the segment that reaches this number, or
            the bytes of a block.
        block_bytes: Bytes of a block.
        seed: Seed of the order.
    """

    files: np.ndarray
    offsets: np.ndarray
    skipped: np.ndarray
    counts: np.ndarray
    sizes: np.ndarray
    block_size: int
    block_bytes: int
    seed: int

    @classmethod
    def of(
        cls, files: Sequence[FileIndex], block_size: int, block_bytes: int, seed: int
    ) -> "SegmentPlan":
        """Cuts files into segments.

        Args:
            files: Uncompressed files.
            block_size: Records in a block.
            block_bytes: Bytes of a block.
            seed: Seed of the order.
        """
        num_bytes = sum(file.bytes_of_runs for file in files)
        num_records = max(1, sum(file.num_records for file in files))
        target = block_size * num_bytes // num_records // _SEGMENTS_PER_BLOCK
        target = min(max(target, _MIN_SEGMENT_BYTES), _MAX_SEGMENT_BYTES)
        merged = [file.merged(target) for file in files]
        return cls(
            np.repeat(np.arange(len(files)), [len(file.counts) for file in merged]),
            np.concatenate([file.offsets for file in merged]),
            np.concatenate(
                [np.where(np.arange(len(file.counts)), 0, file.skipped) for file in merged]
            ),
            np.concatenate([file.counts for file in merged]),
            np.concatenate([np.diff(file.offsets, append=file.num_bytes) for file in merged]),
            block_size,
            block_bytes,
            seed,
        )

    def blocks(self, start: int) -> Iterator["Block"]:
        """Yields the blocks of the unbounded stream from a position on.

        Args:
            start: Position in records.
        """
        first_pass, skipped = divmod(start, int(self.counts.sum()))
        # The larger of a segment's two fractions of a block, both multiplied by both limits. In
        # KiB, because the sum over all segments has to be an int64.
        kibibytes = min(max(1, self.block_bytes >> 10), _UNLIMITED_KIB)
        weights = np.maximum(self.counts * kibibytes, (self.sizes >> 10) * self.block_size)
        for index in itertools.count(first_pass):
            generator = np.random.Generator(np.random.PCG64([self.seed, index]))
            order = generator.permutation(len(self.counts))
            ends = np.cumsum(self.counts[order])
            before_each = np.cumsum(weights[order]) - weights[order]
            block_of = before_each // (self.block_size * kibibytes)
            borders = np.flatnonzero(np.diff(block_of, prepend=-1, append=-1))
            seeds = generator.integers(1, 1 << 62, (len(borders), 2))
            for (begin, end), pair in zip(itertools.pairwise(borders), seeds, strict=False):
                before = int(ends[begin - 1]) if begin else 0
                if ends[end - 1] > skipped:
                    count = int(ends[end - 1]) - before
                    yield Block(order[begin:end], count, max(0, skipped - before), pair)
            skipped = 0


class Block(NamedTuple):
    """Segments whose records are shuffled together.

    Args:
        segments: Segments in the order in which they are read, int64 ``[segments]``.
        count: Records in the block.
        skipped: Records at the beginning of the shuffled block that are left out.
        seeds: Two seeds of the order of the records.
    """

    segments: np.ndarray
    count: int
    skipped: int
    seeds: np.ndarray


def segment_blocks(
    files: Sequence[FileIndex], start: int, *, block_size: int, block_bytes: int, seed: int
) -> tf.data.Dataset:
    """Returns the unbounded stream of uncompressed files: strings ``[chunk]``.

    Args:
        files: Uncompressed files.
        start: Position in records.
        block_size: Records in a block.
        block_bytes: Bytes of a block.
        seed: Seed of the order.
    """
    plan = SegmentPlan.of(files, block_size, block_bytes, seed)
    chunk_size = _chunk_size(files, block_size)
    paths = tf.constant([file.path for file in files])
    segments = (
        tf.gather(paths, plan.files),
        tf.repeat("", len(plan.files)),
        tf.constant(plan.offsets),
        tf.constant(plan.skipped),
        tf.constant(plan.counts),
        tf.constant(plan.sizes),
    )
    is_remote = any("://" in file.path for file in files)

    def read(
        numbers: tf.Tensor, count: tf.Tensor, skipped: tf.Tensor, seeds: tf.Tensor
    ) -> tf.data.Dataset:
        chosen = tuple(tf.gather(column, numbers) for column in segments)
        slices = tf.data.Dataset.from_tensor_slices(chosen)
        if is_remote:  # Extra threads speed up remote files and slow down local ones.
            records = slices.interleave(
                open_run,
                cycle_length=NUM_THREADS,
                num_parallel_calls=NUM_THREADS,
                deterministic=True,
            )
        else:
            records = slices.flat_map(open_run)
        return _through_buffer(records, count, seeds).skip(skipped).batch(chunk_size)

    def every_second(first: int) -> tf.data.Dataset:
        scalar = tf.TensorSpec([], tf.int64)
        vector = tf.TensorSpec([None], tf.int64)
        blocks = tf.data.Dataset.from_generator(
            lambda: itertools.islice(plan.blocks(start), first, None, 2),
            output_signature=(vector, scalar, scalar, vector),
        )
        return blocks.flat_map(read)

    def chunks_of_blocks() -> Iterator[int]:
        for block in plan.blocks(start):
            yield -(-(block.count - block.skipped) // chunk_size)

    counts = tf.data.Dataset.from_generator(
        chunks_of_blocks, output_signature=tf.TensorSpec([], tf.int64)
    )
    return _in_turns(every_second(0), every_second(1), counts)


def buffered_chunks(
    files: Sequence[FileIndex], start: int, *, buffer_size: int, seed: int
) -> tf.data.Dataset:
    """Returns the unbounded stream of files that may be compressed: strings ``[chunk]``.

    Args:
        files: Files, compressed or not.
        start: Position in records; earlier records of the same pass are read and skipped.
        buffer_size: Records in the shuffle buffer.
        seed: Seed of the order.
    """
    num_records = sum(file.num_records for file in files)
    record_bytes = max(1, sum(file.bytes_of_runs for file in files) // num_records)
    interleaved = min(max(1, _INTERLEAVED_BYTES // record_bytes), _MAX_INTERLEAVED)
    chunk_size = _chunk_size(files, buffer_size)
    first_pass, skipped = divmod(start, num_records)
    runs = file_runs(files)
    cycle_length = min(len(files), _OPEN_FILES)

    def skipped_in(index: tf.Tensor) -> tf.Tensor:
        return tf.where(tf.equal(index, first_pass), tf.constant(skipped, tf.int64), 0)

    def one_pass(index: tf.Tensor) -> tf.data.Dataset:
        seeds = tf.stack([tf.constant(seed + 1, tf.int64), index])
        order = _shuffled(tf.range(len(files)), seeds)
        ordered = tuple(tf.gather(column, order) for column in runs)
        records = tf.data.Dataset.from_tensor_slices(ordered).interleave(
            open_run,
            cycle_length=cycle_length,
            block_length=interleaved,
            num_parallel_calls=min(cycle_length, NUM_THREADS),
            deterministic=True,
        )
        shuffled = _through_buffer(records, buffer_size, seeds)
        return shuffled.skip(skipped_in(index)).batch(chunk_size)

    def every_second(first: int) -> tf.data.Dataset:
        return tf.data.Dataset.counter(first, 2).flat_map(one_pass)

    counts = tf.data.Dataset.counter(first_pass).map(
        lambda index: -(-(num_records - skipped_in(index)) // chunk_size)
    )
    return _in_turns(every_second(first_pass), every_second(first_pass + 1), counts)


def buffer_size_within(files: Sequence[FileIndex], size: int, fits: Callable[..., bool]) -> int:
    """Returns the largest buffer size whose heaviest contents fit into memory.

    Args:
        files: Files, compressed or not.
        size: Largest size, in records.
        fits: Function of the number and the bytes of records.
    """
    cycle_length = min(len(files), _OPEN_FILES)
    low, high = 1, size  # The smallest buffer is allowed in any case.
    while low < high:
        middle = high if high == size else (low + high + 1) // 2
        each = -(-middle // cycle_length)
        heaviest = sorted((file.heaviest_bytes(each) for file in files), reverse=True)
        if fits(middle, sum(heaviest[:cycle_length])):
            low = middle
        else:
            high = middle - 1
    return low


def _in_turns(
    even: tf.data.Dataset, odd: tf.data.Dataset, counts: tf.data.Dataset
) -> tf.data.Dataset:
    """Alternates between two streams of chunks; one is read ahead while the other is consumed.

    Args:
        even: Chunks of the shuffle buffers 0, 2, 4 and so on: strings ``[chunk]``.
        odd: Chunks of the other buffers.
        counts: Number of chunks of each buffer, int64 ``[]``.
    """
    # A stream is read ahead from its first element on, so the odd one begins with an empty chunk,
    # which is taken after the first chunk of the even one: nothing delays the first batch.
    odd = tf.data.Dataset.from_tensors(tf.zeros([0], tf.string)).concatenate(odd)
    turns = counts.enumerate().flat_map(
        lambda number, count: tf.data.Dataset.from_tensors(number % 2).repeat(count)
    )
    begin = tf.data.Dataset.from_tensor_slices(tf.constant([0, 1], tf.int64))
    turns = begin.concatenate(turns.skip(1))
    chunks = tf.data.Dataset.choose_from_datasets([even.prefetch(1), odd.prefetch(1)], turns)
    return chunks.filter(lambda chunk: tf.size(chunk) > 0)


def _chunk_size(files: Sequence[FileIndex], block_size: int) -> int:
    """Returns the records in a chunk: a small part of a block, and of bounded size."""
    num_bytes = sum(file.bytes_of_runs for file in files)
    record_bytes = num_bytes / sum(file.num_records for file in files)
    return int(min(max(1, _CHUNK_BYTES // record_bytes), max(1, block_size // 16), _MAX_CHUNK_SIZE))


def _through_buffer(
    records: tf.data.Dataset, buffer_size: tf.Tensor | int, seeds: tf.Tensor
) -> tf.data.Dataset:
    # Dataset.shuffle would mix the global seed into the order.
    shuffled = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(records),
        buffer_size=buffer_size,
        seed=seeds[0],  # Not 0: two zeros would be replaced by a random seed.
        seed2=seeds[1],
        output_types=[tf.string],
        output_shapes=[[]],
        reshuffle_each_iteration=False,
    )
    return tf.data.experimental.from_variant(shuffled, tf.TensorSpec([], tf.string))
