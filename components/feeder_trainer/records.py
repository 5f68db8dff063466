"""TFRecord files of an Examples artifact: compression, count, and a seekable stream of records."""

from collections.abc import Sequence

import tensorflow as tf

from tfx_feeder.components.common.errors import DataError

_shuffled = tf.random.experimental.stateless_shuffle
_fold_in = tf.random.experimental.stateless_fold_in
_GZIP_MAGIC = b"\x1f\x8b"
_OPEN_FILES = 8
_BLOCK = 16


class RecordFiles:
    """The records of one or several splits.

    Args:
        paths: TFRecord files, gzipped or not.

    Raises:
        DataError: There is no file, or a record cannot be read.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        if not paths:
            raise DataError("The splits hold no files.")
        self.paths = sorted(paths)
        self._compressions = [_compression(path) for path in self.paths]
        self.num_examples = self._count()

    def in_order(self) -> tf.data.Dataset:
        """Returns the records in the files' order: strings ``[]``."""
        files = tf.data.Dataset.from_tensor_slices((self.paths, self._compressions))
        return files.flat_map(_open)

    def stream(self, start: tf.Tensor | int, *, seed: int, shuffle_buffer: int) -> tf.data.Dataset:
        """Returns the endless stream of records from a position on: strings ``[]``.

        Pass ``k`` shuffles the files, interleaves them, and shuffles the records block by block.
        All of it is a function of ``(seed, k)`` alone, which ``Dataset.shuffle`` is not: that one
        mixes in the global seed.

        Args:
            start: Position in examples; those before it in the same pass are read and skipped.
            seed: Derives the order.
            shuffle_buffer: Examples in a block; 0 keeps the files' order.
        """
        start = tf.convert_to_tensor(start, tf.int64)
        skipped = start % self.num_examples
        if not shuffle_buffer:
            return self.in_order().repeat().skip(skipped)

        def one_pass(index: tf.Tensor) -> tf.data.Dataset:
            seeds = tf.stack([tf.constant(seed, tf.int64), index])
            order = _shuffled(tf.range(len(self.paths)), seeds)
            files = tf.data.Dataset.from_tensor_slices(
                (tf.gather(self.paths, order), tf.gather(self._compressions, order))
            )
            records = files.interleave(
                _open,
                cycle_length=min(len(self.paths), _OPEN_FILES),
                block_length=_BLOCK,
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )
            blocks = records.batch(shuffle_buffer).enumerate()
            blocks = blocks.map(lambda number, block: _shuffled(block, _fold_in(seeds, number)))
            return blocks.prefetch(1).flat_map(tf.data.Dataset.from_tensor_slices)

        passes = tf.data.Dataset.counter(start // self.num_examples)
        return passes.flat_map(one_pass).skip(skipped)

    def _count(self) -> int:
        ones = self.in_order().batch(1024).map(lambda batch: tf.size(batch, tf.int64))
        try:
            return int(ones.reduce(tf.constant(0, tf.int64), lambda total, n: total + n))
        except tf.errors.OpError as error:
            raise DataError(
                f"A record among {self.paths} cannot be read: {error.message}"
            ) from error


def _open(path: tf.Tensor, compression: tf.Tensor) -> tf.data.Dataset:
    return tf.data.TFRecordDataset(path, compression_type=compression)


def _compression(path: str) -> str:
    """Looks into the file, because names do not always tell."""
    with tf.io.gfile.GFile(path, "rb") as file:
        return "GZIP" if file.read(2) == _GZIP_MAGIC else ""
