"""TFRecord files of an Examples artifact: compression, record count and a seekable stream."""

from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf

from tfx_feeder.common.errors import DataError
from tfx_feeder.common.tfrecord import FRAME_BYTES, GZIP_MAGIC
from tfx_feeder.components.feeder_trainer.feed.sampler import Sampler, ShuffleSampler

_shuffled = tf.random.experimental.stateless_shuffle
_fold_in = tf.random.experimental.stateless_fold_in
_PARQUET_MAGIC = b"PAR1"
UNREADABLE = (tf.errors.OpError, UnicodeDecodeError)
"""Errors of reading or parsing a bad record, which TensorFlow quotes even if it is not text."""

_OPEN_FILES = 8
_BLOCK = 16


class RecordSource(Protocol):
    """Records of a feed; ``TFRecordSource`` describes the arguments."""

    num_examples: int

    def in_order(self) -> tf.data.Dataset:
        """Returns the records of one pass in the order of the files."""
        ...

    def sampler(self, seed: int, *, shuffle: bool) -> Sampler:
        """Returns the sampler of the records."""
        ...

    def stream(self, start: tf.Tensor | int, *, seed: int, shuffle_buffer: int) -> tf.data.Dataset:
        """Returns the records of the stream from a position on."""
        ...


class TFRecordSource:
    """Record source that reads TFRecord files of one or several splits.

    Args:
        paths: TFRecord files, gzipped or not; their order defines the order of the records.

    Raises:
        DataError: ``paths`` is empty.
        tf.errors.OpError: A file cannot be read.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        if not paths:
            raise DataError("The splits contain no files.")
        self.paths = list(paths)
        self.compressions = [compression_of(path) for path in self.paths]
        self.counts = [*map(count_records, self.paths, self.compressions)]
        self.num_examples = sum(self.counts)

    def in_order(self) -> tf.data.Dataset:
        """Returns the records in the files' order: strings ``[]``."""
        files = tf.data.Dataset.from_tensor_slices((self.paths, self.compressions))
        return files.flat_map(open_records)

    def sampler(self, seed: int, *, shuffle: bool) -> ShuffleSampler:
        """Returns the order of an unbounded stream over the records of ``in_order``.

        Args:
            seed: Seed of the order.
            shuffle: If False, the order of the files is kept.
        """
        return ShuffleSampler(self.num_examples, seed, shuffle=shuffle)

    def stream(self, start: tf.Tensor | int, *, seed: int, shuffle_buffer: int) -> tf.data.Dataset:
        """Returns the unbounded stream of records from a position: strings ``[]``.

        Pass ``k`` shuffles the files, interleaves them, and shuffles the records block by block.
        The order is a function of ``(seed, k)`` alone, unlike that of ``Dataset.shuffle``, which
        also depends on the global seed.

        Args:
            start: Position in examples; earlier examples of the same pass are read and skipped.
            seed: Seed of the order.
            shuffle_buffer: Examples in a block; 0 keeps the order of the files.
        """
        start = tf.convert_to_tensor(start, tf.int64)
        skipped = start % self.num_examples
        if not shuffle_buffer:
            return self.in_order().repeat().skip(skipped)

        def one_pass(index: tf.Tensor) -> tf.data.Dataset:
            seeds = tf.stack([tf.constant(seed, tf.int64), index])
            order = _shuffled(tf.range(len(self.paths)), seeds)
            files = tf.data.Dataset.from_tensor_slices(
                (tf.gather(self.paths, order), tf.gather(self.compressions, order))
            )
            # Extra threads speed up remote files and slow down local ones.
            parallel = tf.data.AUTOTUNE if any("://" in path for path in self.paths) else None
            records = files.interleave(
                open_records,
                cycle_length=min(len(self.paths), _OPEN_FILES),
                block_length=_BLOCK,
                num_parallel_calls=parallel,
            )
            blocks = records.batch(shuffle_buffer).enumerate()
            blocks = blocks.map(lambda number, block: _shuffled(block, _fold_in(seeds, number)))
            return blocks.prefetch(1).unbatch()

        passes = tf.data.Dataset.counter(start // self.num_examples)
        return passes.flat_map(one_pass).skip(skipped)


def open_records(path: tf.Tensor | str, compression: tf.Tensor | str) -> tf.data.Dataset:
    """Returns the records of one TFRecord file: strings ``[]``.

    Args:
        path: Path of the file.
        compression: ``"GZIP"`` or ``""``.
    """
    return tf.data.TFRecordDataset(path, compression_type=compression)


def compression_of(path: str) -> str:
    """Returns ``"GZIP"`` or ``""`` from the contents, because file names are not reliable."""
    with tf.io.gfile.GFile(path, "rb") as file:
        return "GZIP" if file.read(len(GZIP_MAGIC)) == GZIP_MAGIC else ""


def is_parquet(path: str) -> bool:
    """Returns True if a file can be read and is in Parquet format."""
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC
    except tf.errors.OpError:
        return False


def count_records(path: str, compression: str) -> int:
    """Returns the number of records, after reading the whole file.

    Args:
        path: Path of the file.
        compression: ``"GZIP"`` or ``""``.

    Raises:
        tf.errors.OpError: The file cannot be read or is truncated.
    """
    count, size = _measure(tf.constant(path), tf.constant(compression)).numpy().tolist()
    # TensorFlow mistakes some truncations, in a header or a gzip stream, for the end of the file.
    if (size - _contents_bytes(path, compression)) % (1 << 32):
        raise tf.errors.DataLossError(None, None, f"{path} ends before its last record")
    return count


@tf.function
def _measure(path: tf.Tensor, compression: tf.Tensor) -> tf.Tensor:
    """Returns int64 ``[2]``: the number of records and their bytes in the uncompressed file."""

    def add(total: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
        count = tf.size(batch, tf.int64)
        size = tf.reduce_sum(tf.strings.length(batch))
        return total + tf.stack([count, tf.cast(size, tf.int64) + count * FRAME_BYTES])

    return open_records(path, compression).batch(1024).reduce(tf.zeros(2, tf.int64), add)


def _contents_bytes(path: str, compression: str) -> int:
    """Returns the length of the uncompressed contents, modulo 2^32 as in a gzip trailer."""
    with tf.io.gfile.GFile(path, "rb") as file:
        if not compression:
            return file.size()
        file.seek(max(0, file.size() - 4))
        return int.from_bytes(file.read(4), "little")
