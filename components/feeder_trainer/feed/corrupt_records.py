"""Finds bad records, counts them by reason, and copies the good records of the affected files.

This happens when a feed opens, so counts, order and positions cover good records only. Intact files
are not copied.
"""

import gzip
import itertools
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import DataError
from tfx_feeder.common.tfrecord import RecordError, read_records
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser
from tfx_feeder.components.feeder_trainer.feed.record_index import RecordIndexer
from tfx_feeder.components.feeder_trainer.feed.tfrecord import UNREADABLE, compression_of


@dataclass(slots=True)
class Rejections:
    """Counter of rejected records.

    Args:
        limit: Largest number of rejected records that is not an error.
        counts: Number of rejected records by reason.
    """

    limit: int
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def from_options(cls, options: FeedOptions) -> "Rejections":
        """Returns an empty counter with the limit of the options."""
        return cls(options.max_bad_records if options.on_bad_record == "skip" else 0)

    def add(self, error: RecordError, location: str) -> None:
        """Counts one rejected record.

        Args:
            error: Reason of the rejection.
            location: File and index of the record, for error messages.

        Raises:
            DataError: More than ``limit`` records were rejected.
        """
        self.counts[error.reason] += 1
        if self.counts.total() <= self.limit:
            return
        if not self.limit:
            raise DataError(
                f"{location}: {error.reason}. Fix the data, or set on_bad_record='skip' to drop "
                "bad records and count them."
            )
        raise DataError(
            f"More than max_bad_records={self.limit} records were rejected: {dict(self.counts)}. "
            f"The last one: {location}. Fix the data, or raise max_bad_records."
        )


def drop_corrupt_records(
    paths: Sequence[str],
    parser: ExampleParser,
    rejections: Rejections,
    folder: str,
    indexer: RecordIndexer,
) -> list[str]:
    """Replaces files that contain bad records with copies of their good records.

    Args:
        paths: TFRecord files.
        parser: Parser that every good record must pass.
        rejections: Counter of the bad records; updated.
        folder: Folder of the copies.
        indexer: Indexer of the files; it remembers those that are intact.

    Returns:
        Paths of the intact files and of the copies, in the order of ``paths``.

    Raises:
        DataError: More records are bad than ``rejections`` allows.
    """
    result = []
    for path in paths:
        if not _is_intact(path, indexer):
            copy = os.path.join(folder, f"{len(os.listdir(folder)):05d}-{os.path.basename(path)}")
            _copy_good(path, copy, parser, rejections, indexer)
            path = copy
        result.append(path)
    return result


def _is_intact(path: str, indexer: RecordIndexer) -> bool:
    try:
        indexer.index([path])
    except UNREADABLE:
        return False
    return True


def _copy_good(
    path: str, copy: str, parser: ExampleParser, rejections: Rejections, indexer: RecordIndexer
) -> None:
    parse = _compiled(parser)
    with tf.io.gfile.GFile(path, "rb") as raw, tf.io.TFRecordWriter(copy) as writer:
        zipped = compression_of(path) == "GZIP"
        records = read_records(gzip.GzipFile(fileobj=raw) if zipped else raw)
        number, size = 0, 1
        while chunk := list(itertools.islice(records, size)):
            good = [record for record in chunk if isinstance(record, bytes)]
            size = indexer.chunk_size(max(map(len, good), default=0))
            all_parse = _parses(parse, good)
            for record in chunk:
                if isinstance(record, bytes) and not (all_parse or _parses(parse, [record])):
                    record = RecordError(_reason(record, parser))
                if isinstance(record, RecordError):
                    rejections.add(record, f"{path}, record {number}")
                else:
                    writer.write(record)
                number += 1


def _compiled(parser: ExampleParser) -> Callable[[tf.Tensor], Any]:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def parse(serialized: tf.Tensor) -> Any:
        return parser(serialized)

    return parse


def _parses(parse: Callable[[tf.Tensor], Any], records: list[bytes]) -> bool:
    try:
        parse(tf.constant(records, tf.string, shape=[len(records)]))
    except UNREADABLE:
        return False
    return True


def _reason(record: bytes, parser: ExampleParser) -> str:
    """Returns why a record does not parse."""
    try:
        example = tf.train.Example.FromString(record)
    except Exception:  # The protobuf runtimes raise different classes.
        return "not an Example"
    for key in sorted(parser.required_features):
        spec = parser.feature_spec[key]
        kind = example.features.feature[key].WhichOneof("kind")
        if kind is None:
            if isinstance(spec, tf.io.FixedLenFeature) and spec.default_value is None:
                return f"no feature {key!r}"
            continue
        if kind != _kind(spec.dtype):
            return f"feature {key!r} of another type"
        values = getattr(example.features.feature[key], kind).value
        if isinstance(spec, tf.io.FixedLenFeature) and len(values) != np.prod(spec.shape):
            return f"feature {key!r} of another shape"
        if key in parser.feed.images:
            image = parser.feed.images[key]
            if image.encoding == "raw" and len(values[0]) != np.prod(image.shape):
                return f"image {key!r} of another size"
    images = ", ".join(repr(key) for key in sorted(parser.feed.images))
    return f"image {images} does not decode" if images else "does not parse"


def _kind(dtype: tf.DType) -> str:
    if dtype == tf.string:
        return "bytes_list"
    return "float_list" if dtype.is_floating else "int64_list"
