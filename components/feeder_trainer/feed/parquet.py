"""Converts the Parquet splits of ImportExampleGen and Transform to TFRecord.

tf.data has no Parquet reader, and TFX's reader (``ParquetTFXIO``) does not produce a dataset. The
files are converted once, so every option of a feed applies to them as well.
"""

import os
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from apache_beam.io.filesystems import FileSystems
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from tfx_feeder.common.errors import DataError

_ROWS = 4096


def as_tfrecords(paths: Sequence[str], folder: str) -> list[str]:
    """Converts Parquet files to TFRecord files of Examples.

    Args:
        paths: Parquet files.
        folder: Folder of the TFRecord files.

    Returns:
        Paths of the TFRecord files, in the order of ``paths``.

    Raises:
        DataError: A column holds what an Example cannot hold: another type, such as a date, an
            integer above 2^63 - 1, or a list in which a value is missing.
        pyarrow.ArrowException: A file is corrupt.
    """
    return [_as_tfrecord(path, folder) for path in paths]


def _as_tfrecord(path: str, folder: str) -> str:
    number = len(os.listdir(folder))
    written = os.path.join(folder, f"{number:05d}-{os.path.basename(path)}.tfrecord")
    encoder = RecordBatchToExamplesEncoder()
    with FileSystems.open(path) as file, tf.io.TFRecordWriter(written) as writer:
        for batch in pq.ParquetFile(file).iter_batches(_ROWS):
            names = batch.schema.names
            columns = [
                _checked_lists(column, name, path)
                for column, name in zip(batch.columns, names, strict=True)
            ]
            lists = pa.RecordBatch.from_arrays(columns, names=names)
            for record in encoder.encode(lists):
                writer.write(record)
    return written


def _checked_lists(column: pa.Array, name: str, path: str) -> pa.Array:
    """Returns a column as lists, after checking that an Example can hold it.

    Args:
        column: Values of the column.
        name: Name of the column.
        path: Path of the file, for the error.
    """
    try:
        lists = _as_lists(column)
    except pa.ArrowException as error:
        raise DataError(
            f"An Example cannot hold column {name!r} of {path}, of type {column.type}: {error}"
        ) from error
    if lists.flatten().null_count:  # The encoder would replace each of them by 0 or "".
        raise DataError(
            f"An Example cannot hold column {name!r} of {path}: a value within a list is missing."
        )
    return lists


def _as_lists(column: pa.Array) -> pa.Array:
    """Converts a column to lists of int64, float or bytes, the value types of an Example."""
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return column.cast(pa.large_list(_value_type(kind.value_type)))
    size, values = 1, column.drop_null()
    if pa.types.is_fixed_size_list(kind):
        size, values = kind.list_size, column.flatten()  # Without those of missing lists.
    # A missing value becomes a missing feature: pyarrow reads a masked offset as a null list.
    present = column.is_valid().to_numpy(zero_copy_only=False)
    ends = np.concatenate([[0], np.cumsum(present * size)])
    offsets = pa.array(ends, pa.int32(), mask=np.append(~present, False))
    return _as_lists(pa.ListArray.from_arrays(offsets, values))


def _value_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return pa.int64()
    return pa.float32() if pa.types.is_floating(kind) else pa.large_binary()
