"""Labels that came after the predictions: rows of a table, joined to examples by a key.

The functions take one record or one group each, so that a join of any engine can call them; Beam's
``CoGroupByKey`` keeps no more in memory than the records of one key.
"""
# Generated protobuf modules define their messages at run time only.
# pyright: reportAttributeAccessIssue=false

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from google.protobuf.message import DecodeError
from tensorflow.core.example import example_pb2

from tfx_feeder.common.errors import ConfigError, DataError
from tfx_feeder.components.slice_gen.serving_log import (
    EXAMPLE,
    ServingLogOptions,
    log_files,
    read_serving_log,
)

UNMATCHED, CONFLICTING = "no label", "labels that contradict one another"
DUPLICATE, LATE, UNUSED = "label given more than once", "late label", "label without an example"
NO_KEY, NO_VALUE = "no key", "no label value"


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """Options of joining labels.

    Args:
        key: Name of the column, and of the feature, that identifies an example.
        label: Name of the column with the label, and of the feature that it becomes.
        time: Name of the column with the time at which the label became known, ISO 8601 or seconds
            since the epoch; empty if there is none.
        until: Time from which a label is late and not used; ``None`` for never. Time zone required.

    Raises:
        ConfigError: A name is missing, or a time has no column or no time zone.
    """

    key: str
    label: str
    time: str = ""
    until: datetime | None = None

    def __post_init__(self) -> None:
        for name in ("key", "label"):
            if not getattr(self, name):
                raise ConfigError(name, received="", expected="name of a column")
        if self.until is not None and (not self.time or self.until.tzinfo is None):
            raise ConfigError(
                "until", received=self.until, expected="a time with a time zone, and `time`"
            )


@dataclass(frozen=True, slots=True)
class Label:
    """Label of one example.

    Args:
        key: Key of the example.
        value: Label; ``None`` if it cannot be used.
        problem: Reason why it cannot be used; empty if it can.
    """

    key: str
    value: int | float | str | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Labeled:
    """Examples of one key after the join.

    Args:
        examples: Serialized tf.Examples with their label.
        problems: Number of examples, or of labels, by reason.
    """

    examples: tuple[bytes, ...]
    problems: Counter[str]


def read_labels(source: Path, options: LabelOptions) -> Iterator[Label]:
    """Reads labels row by row from CSV, Parquet or TFRecord files of tf.Examples.

    Args:
        source: File, or folder of files. The ending ``.csv`` or ``.parquet`` tells the format;
            other files hold tf.Examples.
        options: Options of the join.

    Raises:
        DataError: A file cannot be read, or lacks a column.
    """
    for path in log_files(source):
        for row in _rows(path, options):
            yield _label(row, options)


def _rows(path: Path, options: LabelOptions) -> Iterator[Mapping[str, Any]]:
    columns = list(filter(None, (options.key, options.label, options.time)))
    try:
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                _check_columns(path, columns, reader.fieldnames or ())
                yield from reader
        elif path.suffix == ".parquet":
            with pq.ParquetFile(path) as table:
                _check_columns(path, columns, table.schema_arrow.names)
                for batch in table.iter_batches(columns=columns):
                    yield from batch.to_pylist()
        else:
            for record in read_serving_log([path], ServingLogOptions(EXAMPLE)):
                features = example_pb2.Example.FromString(record).features.feature
                yield {name: feature_value(features[name]) for name in columns if name in features}
    except (OSError, csv.Error, UnicodeDecodeError, pa.ArrowException) as error:
        raise DataError(f"No labels can be read from {path}: {error}") from error


def _check_columns(path: Path, columns: Sequence[str], found: Sequence[str]) -> None:
    missing = [name for name in columns if name not in found]
    if missing:
        raise DataError(
            f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(found) or 'none'}."
        )


def _label(row: Mapping[str, Any], options: LabelOptions) -> Label:
    key, value = as_key(row.get(options.key)), _as_label(row.get(options.label))
    if not key:
        return Label("", None, NO_KEY)
    if value is None:
        return Label(key, None, NO_VALUE)
    if options.until is not None:
        known = _as_time(row.get(options.time))
        # A label of unknown time may be late.
        if known is None or known >= options.until:
            return Label(key, None, LATE)
    return Label(key, value)


def as_key(value: Any) -> str:
    """Returns a key as text, equal for the same number in CSV, Parquet and tf.Examples."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip()


def _as_label(value: Any) -> int | float | str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        text = value.strip()
        for parse in (int, float):
            try:
                return _as_label(parse(text))
            except ValueError:
                continue
        return text or None
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and value != value:
        return None
    return value if isinstance(value, int | float) else None


def _as_time(value: Any) -> datetime | None:
    try:
        if isinstance(value, datetime):
            time = value
        elif isinstance(value, bytes | str):
            text = value.decode() if isinstance(value, bytes) else value
            time = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
        else:
            time = datetime.fromtimestamp(float(value), timezone.utc)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def feature_value(feature: Any) -> bytes | int | float | None:
    """Returns the first value of a feature of a tf.Example; ``None`` without one."""
    kind = feature.WhichOneof("kind")
    values = getattr(feature, kind).value if kind else ()
    return values[0] if values else None


def key_of(example: bytes, options: LabelOptions) -> str:
    """Returns the key of an example; empty if it has none.

    Args:
        example: Serialized tf.Example.
        options: Options of the join.
    """
    try:
        features = example_pb2.Example.FromString(example).features.feature
    except DecodeError:
        return ""
    return as_key(feature_value(features[options.key])) if options.key in features else ""


def join(
    key: str, examples: Sequence[bytes], labels: Sequence[Label], options: LabelOptions
) -> Labeled:
    """Joins the examples and the labels of one key.

    All examples of a key get its label, as the same request may be logged again. A label that is
    given twice counts once; labels that contradict one another are not used.

    Args:
        key: Key of both; empty for records without one.
        examples: Serialized tf.Examples.
        labels: Labels, in any order.
        options: Options of the join.
    """
    problems = Counter(label.problem for label in labels if label.problem)
    values = [label.value for label in labels if not label.problem and label.value is not None]
    distinct = set(values)
    if not key:
        problems[NO_KEY] += len(examples)
    elif not examples:
        problems[UNUSED] += len(values)
    elif not values:
        problems[UNMATCHED] += len(examples)
    elif len(distinct) > 1:
        problems[CONFLICTING] += len(values)
        problems[UNMATCHED] += len(examples)
    else:
        problems[DUPLICATE] += len(values) - 1
        labeled = tuple(_labeled(example, values[0], options.label) for example in examples)
        return Labeled(labeled, +problems)
    return Labeled((), +problems)


def _labeled(example: bytes, value: int | float | str, name: str) -> bytes:
    parsed = example_pb2.Example.FromString(example)
    feature = parsed.features.feature[name]
    feature.Clear()
    if isinstance(value, int):
        feature.int64_list.value.append(value)
    elif isinstance(value, float):
        feature.float_list.value.append(value)
    else:
        feature.bytes_list.value.append(value.encode())
    return parsed.SerializeToString()
