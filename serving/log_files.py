"""Files of the prediction log: TFRecords of ``PredictionLog``, and rows of Parquet."""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

TFRECORD_SUFFIX, PARQUET_SUFFIX = ".tfrecord.gz", ".parquet"
_ROW_GROUP = 1_000

_log = logging.getLogger(__name__)


class LogFile:
    """Files that are written at the same time: hidden until they are complete.

    Args:
        folder: Folder of the files; made if it does not exist.
        at: Time of the first request, in seconds since 1970.

    Attributes:
        since: Time of the first request.
        size: Bytes of records so far.
    """

    def __init__(self, folder: Path, at: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(at))
        self.since, self.size = at, 0
        self._stem = folder / f".{stamp}-{os.getpid()}-{time.monotonic_ns()}"
        self._records = tf.io.TFRecordWriter(self._path(TFRECORD_SUFFIX), "GZIP")
        self._rows: list[dict[str, Any]] = []
        self._tables: list[tuple[str, pq.ParquetWriter]] = []

    def _path(self, suffix: str) -> str:
        return f"{self._stem}{suffix}"

    def write(self, log: prediction_log_pb2.PredictionLog, columns: Mapping[str, Any]) -> None:
        """Adds a request.

        Args:
            log: Request and response.
            columns: Values that each of its rows has in Parquet.
        """
        record = log.SerializeToString()
        self._records.write(record)
        self.size += len(record)
        self._rows += [{**columns, **row} for row in rows(log)]
        if len(self._rows) >= _ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        """Writes rows; those of other columns go into another Parquet file."""
        groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for row in self._rows:
            groups.setdefault(tuple(row), []).append(row)
        self._rows = []
        for group in groups.values():
            try:
                table = pa.Table.from_pylist(group)
            except pa.ArrowInvalid as error:
                _log.warning("%d rows are no table of Parquet: %s", len(group), error)
                continue
            self._writer(table.schema).write_table(table)

    def _writer(self, schema: pa.Schema) -> pq.ParquetWriter:
        for _, writer in self._tables:
            if writer.schema == schema:
                return writer
        path = self._path(f"-{len(self._tables)}{PARQUET_SUFFIX}")
        self._tables.append((path, pq.ParquetWriter(path, schema)))
        return self._tables[-1][1]

    def complete(self) -> None:
        """Closes the files and gives them their names."""
        self._records.close()
        self._flush()
        for _, writer in self._tables:
            writer.close()
        for path in [self._path(TFRECORD_SUFFIX), *(path for path, _ in self._tables)]:
            hidden = Path(path)
            hidden.rename(hidden.with_name(hidden.name[1:]))

    def abandon(self) -> None:
        """Closes the files without an error; the next start completes what was written."""
        for close in (self._records.close, *(writer.close for _, writer in self._tables)):
            try:
                close()
            except (OSError, tf.errors.OpError, pa.ArrowException) as error:
                _log.debug("a file of the log could not be closed: %s", error)


def rows(log: prediction_log_pb2.PredictionLog) -> Iterator[dict[str, Any]]:
    """Yields a row for each example of a request: columns ``inputs.NAME`` and ``outputs.NAME``.

    A value of several numbers is a list; a tensor without a dimension of examples is the same in
    each row. Requests of several tasks have no rows.

    Args:
        log: Request and response.
    """
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        call = log.predict_log
        columns = {f"inputs.{n}": tf.make_ndarray(t) for n, t in call.request.inputs.items()}
        columns |= {f"outputs.{n}": tf.make_ndarray(t) for n, t in call.response.outputs.items()}
        sizes = {len(array) for array in columns.values() if array.ndim}
        number = max(sizes, default=1)
        for row in range(number):
            yield {
                name: _cell(array[row] if array.ndim and len(array) == number else array)
                for name, array in columns.items()
            }
    elif kind in ("classify_log", "regress_log"):
        call = getattr(log, kind)
        examples = call.request.input.example_list.examples
        examples = examples or call.request.input.example_list_with_context.examples
        result = call.response.result
        for number, example in enumerate(examples):
            row: dict[str, Any] = {"inputs.examples": example.SerializeToString()}
            if kind == "regress_log":
                row["outputs.outputs"] = result.regressions[number].value
            else:
                classes = result.classifications[number].classes
                row["outputs.classes"] = [each.label for each in classes]
                row["outputs.scores"] = [each.score for each in classes]
            yield row


def _cell(value: Any) -> Any:
    """Returns a value of the same type, or a list of them, for a column."""
    array = np.asarray(value)
    return array[()] if array.ndim == 0 else array.reshape(-1)
