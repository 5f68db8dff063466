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

_ROWS = 4096


def as_tfrecords(paths: Sequence[str], folder: str) -> list[str]:
    """Converts Parquet files to TFRecord files of Examples.

    Args:
        paths: Parquet files.
        folder: Folder of the TFRecord files.

    Returns:
        Paths of the TFRecord files, in the order of ``paths``.

    Raises:
        pyarrow.ArrowException: A file is corrupt, or a column has a type that an Example cannot
            hold.
    """
    return [_as_tfrecord(path, folder) for path in paths]


def _as_tfrecord(path: str, folder: str) -> str:
    number = len(os.listdir(folder))
    written = os.path.join(folder, f"{number:05d}-{os.path.basename(path)}.tfrecord")
    encoder = RecordBatchToExamplesEncoder()
    with FileSystems.open(path) as file, tf.io.TFRecordWriter(written) as writer:
        for batch in pq.ParquetFile(file).iter_batches(_ROWS):
            columns = [_as_lists(column) for column in batch.columns]
            lists = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
            for record in encoder.encode(lists):
                writer.write(record)
    return written


def _as_lists(column: pa.Array) -> pa.Array:
    """Converts a column to lists of int64, float or bytes, the value types of an Example."""
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        # A missing value becomes a missing feature: pyarrow reads a masked offset as a null list.
        present = column.is_valid().to_numpy(zero_copy_only=False)
        ends = np.concatenate([[0], np.cumsum(present)])
        offsets = pa.array(ends, pa.int32(), mask=np.append(~present, False))
        lists = pa.ListArray.from_arrays(offsets, column.drop_null())
        return _as_lists(lists)
    return column.cast(pa.large_list(_value_type(kind.value_type)))


def _value_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return pa.int64()
    return pa.float32() if pa.types.is_floating(kind) else pa.large_binary()
