"""Rows of the files that hold labels: CSV, Parquet, or TFRecord files of tf.Examples."""
# Generated protobuf modules define their messages at run time only.
# pyright: reportAttributeAccessIssue=false

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tensorflow.core.example import example_pb2

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.slice_gen.log_options import EXAMPLE, ServingLogOptions
from tfx_feeder.components.slice_gen.serving_log import ServingLogCounts, read_serving_log

_UNREADABLE = (
    *(OSError, csv.Error, pa.ArrowException),
    # Values that Python does not know, such as an unknown time zone or the year 10,000.
    *(ValueError, LookupError, ArithmeticError),
)


def label_rows(path: Path, columns: Sequence[str]) -> Iterator[Mapping[str, Any] | str]:
    """Reads some columns of a file row by row.

    Args:
        path: File; its ending tells the format.
        columns: Names of the columns. A row may lack any of them.

    Yields:
        Rows, and for each damaged record of a TFRecord file its problem.

    Raises:
        DataError: The file cannot be read, or it lacks a column or has it twice.
    """
    try:
        if path.suffix.lower() == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                yield from _csv_rows(path, columns, csv.reader(file))
        elif path.suffix.lower() == ".parquet":
            texts = [field.name for field in pq.read_schema(path) if _is_text(field.type)]
            with pq.ParquetFile(path, read_dictionary=texts) as table:
                _check_columns(path, columns, table.schema_arrow.names)
                for batch in table.iter_batches(columns=columns):
                    cells = map(_cells, batch.schema.names, batch.columns)
                    yield from map(dict, zip(*cells, strict=True))
        else:
            counts = ServingLogCounts()
            for record in read_serving_log([path], ServingLogOptions(EXAMPLE), counts):
                features = example_pb2.Example.FromString(record).features.feature
                yield {name: feature_value(features[name]) for name in columns if name in features}
            yield from counts.set_aside.elements()
    except _UNREADABLE as error:
        raise DataError(f"No labels can be read from {path}: {error}") from error


def _is_text(kind: pa.DataType) -> bool:
    of_kind = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary)
    return any(is_kind(kind) for is_kind in of_kind)


def _cells(name: str, column: pa.Array) -> Iterator[tuple[str, Any]]:
    """Yields the values of a column with its name; rows of a dictionary share one object.

    A file of 200 KB can hold a text of 4 MB once and refer to it in thousands of rows.
    """
    if not isinstance(column, pa.DictionaryArray):
        yield from ((name, value) for value in column.to_pylist())
        return
    distinct = column.dictionary.to_pylist()
    for index in column.indices.to_pylist():
        yield name, None if index is None else distinct[index]


def _csv_rows(
    path: Path, columns: Sequence[str], rows: Iterator[list[str]]
) -> Iterator[Mapping[str, str]]:
    # A dictionary of each row would take the time of all columns, also for rows of few cells.
    header = next(rows, [])
    _check_columns(path, columns, header)
    positions = {name: header.index(name) for name in columns}
    for cells in rows:
        if cells:
            yield {name: cells[at] for name, at in positions.items() if at < len(cells)}


def _check_columns(path: Path, columns: Sequence[str], found: Sequence[str]) -> None:
    missing = [name for name in columns if name not in found]
    if missing:
        raise DataError(
            f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(found) or 'none'}."
        )
    if twice := [name for name in columns if found.count(name) > 1]:
        raise DataError(f"{path} has several columns {', '.join(twice)}.")


def feature_value(feature: Any) -> bytes | int | float | None:
    """Returns the first value of a feature of a tf.Example; ``None`` without one."""
    kind = feature.WhichOneof("kind")
    values = getattr(feature, kind).value if kind else ()
    return values[0] if values else None
