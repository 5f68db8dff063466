"""Labels that came after the predictions: rows of a table, joined to examples by a key.

The functions take one record or one group each, so that a join of any engine can call them; Beam's
``CoGroupByKey`` keeps no more in memory than the records of one key.
"""
# Generated protobuf modules define their messages at run time only.
# pyright: reportAttributeAccessIssue=false

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.core.example import example_pb2

from tfx_feeder.components.slice_gen.label_files import feature_value, label_rows
from tfx_feeder.components.slice_gen.log_options import LabelOptions
from tfx_feeder.components.slice_gen.serving_log import log_files

UNMATCHED, CONFLICTING = "no label", "labels that contradict one another"
DUPLICATE, LATE, UNUSED = "label given more than once", "late label", "label without an example"
NO_KEY, NO_VALUE = "no key", "no label value"
OTHER_KIND = "label of another type than in the schema"

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|[+-]?inf(inity)?", re.ASCII | re.I)
"""Python's own parsers take ``1_000`` for a number as well."""
_MOST_DIGITS = 40
"""Length beyond which Python refuses to parse integers, or no feature can hold them."""
_MOST_CHARACTERS = csv.field_size_limit()
"""Length beyond which a text is neither a key nor a label, in any format."""
_SECONDS = re.compile(r"\d{9,}(\.\d+)?", re.ASCII)


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

    Yields:
        Labels, and for each damaged record a label without key that has its problem.

    Raises:
        DataError: There is no file, a file cannot be read, or it lacks a column or has it twice.
    """
    columns = list(filter(None, (options.key, options.label, options.time)))
    for path in log_files(source):
        for row in label_rows(path, columns):
            yield Label("", None, row) if isinstance(row, str) else _label(row, options)


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
    if isinstance(value, float):
        value = int(value) if value.is_integer() else None if math.isnan(value) else value
    if isinstance(value, str) and len(value) > _MOST_CHARACTERS:
        return ""
    return "" if value is None else str(value).strip()


def _as_label(value: Any) -> int | float | str | None:
    """Returns a value that a feature can hold; ``None`` if there is none."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        value = value.strip()
        if len(value) > _MOST_CHARACTERS:
            return None
        if not _NUMBER.fullmatch(value):
            return value or None
        if not _INTEGER.fullmatch(value):
            value = float(value)
        elif len(value) <= _MOST_DIGITS:
            value = int(value)
    if isinstance(value, int):  # A bool is one as well.
        return int(value) if -(1 << 63) <= value < 1 << 63 else None
    return value if isinstance(value, float) and math.isfinite(value) else None


def _as_time(value: Any) -> datetime | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    try:
        if isinstance(value, datetime):
            time = value
        elif isinstance(value, date):
            time = datetime(value.year, value.month, value.day)
        elif isinstance(value, str) and not _SECONDS.fullmatch(value.strip()):
            time = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
        else:
            time = datetime.fromtimestamp(float(value), timezone.utc)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def fitted(label: Label, kind: str) -> Label:
    """Returns a label whose value has the type that the schema declares.

    A column of integers in CSV or Parquet may stand for a feature of floats or of text.

    Args:
        label: Label of one example.
        kind: Kind of the values, such as ``int64_list``; empty if it is unknown.
    """
    value = label.value
    if value is None or not kind:
        return label
    if kind == "bytes_list":
        return replace(label, value=str(value))
    if isinstance(value, str) or (kind == "int64_list" and value != int(value)):
        return Label(label.key, None, OTHER_KIND)
    return replace(label, value=int(value) if kind == "int64_list" else float(value))


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
    # The same in each run, as samples are drawn by content.
    return parsed.SerializeToString(deterministic=True)
