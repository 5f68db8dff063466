"""TFRecord files of an Examples artifact: format, compression and length."""

import tensorflow as tf

from tfx_feeder.common.tfrecord import GZIP_MAGIC

_PARQUET_MAGIC = b"PAR1"
UNREADABLE = (tf.errors.OpError, UnicodeDecodeError)
"""Errors of reading or parsing a bad record, which TensorFlow quotes even if it is not text."""


@tf.autograph.experimental.do_not_convert
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


def contents_bytes(path: str, compression: str) -> int:
    """Returns the length of the uncompressed contents, modulo 2^32 if they are compressed.

    Args:
        path: Path of the file.
        compression: ``"GZIP"`` or ``""``.
    """
    with tf.io.gfile.GFile(path, "rb") as file:
        if not compression:
            return file.size()
        file.seek(max(0, file.size() - 4))
        return int.from_bytes(file.read(4), "little")


@tf.autograph.experimental.do_not_convert
def open_run(
    path: tf.Tensor,
    compression: tf.Tensor | str,
    offset: tf.Tensor,
    skipped: tf.Tensor,
    count: tf.Tensor,
    size: tf.Tensor | int,
) -> tf.data.Dataset:
    """Returns consecutive records of a file: strings ``[]``.

    Only for use in functions of a dataset: TensorFlow cannot serialize this operation.

    Args:
        path: Path of the file.
        compression: ``"GZIP"`` or ``""``.
        offset: Position in bytes of a record from which to read; 0 for a compressed file.
        skipped: Number of records from there on that are read and left out.
        count: Number of records.
        size: Bytes that are read at once.
    """
    raw = tf.raw_ops.TFRecordDatasetV2(
        filenames=tf.reshape(path, [1]),
        compression_type=compression,
        buffer_size=size,
        byte_offsets=tf.reshape(offset, [1]),
    )
    records = tf.data.experimental.from_variant(raw, tf.TensorSpec([], tf.string))
    return records.skip(skipped).take(count)
