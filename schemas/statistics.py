"""Reader of StatisticsGen output that does not need TensorFlow Data Validation."""
# Generated protobuf modules define their messages at run time only.
# pyright: reportAttributeAccessIssue=false

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorflow_metadata.proto.v0 import statistics_pb2

from tfx_feeder.common.errors import DataError
from tfx_feeder.schemas.protos import read_message

FILE_NAME = "FeatureStats.pb"
_NO_TEXT = "__BYTES_VALUE__"
"""Placeholder of TensorFlow Data Validation for values that are not text."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Histogram bucket.

    Args:
        low: Lower bound.
        high: Upper bound.
        fraction: Fraction of the values, 0 to 1.
    """

    low: float
    high: float
    fraction: float


@dataclass(frozen=True, slots=True)
class FeatureStatistics:
    """Statistics of one feature of a split.

    Args:
        name: Feature path, joined by dots.
        kind: ``number``, ``category`` or ``bytes``.
        missing_pct: Percentage of examples without the feature.
        mean: Mean; this and the next four fields are set for numbers only.
        std: Standard deviation.
        minimum: Minimum.
        median: Median.
        maximum: Maximum.
        unique: Number of distinct values of a category.
        buckets: Histogram of numbers.
        fractions: Fractions of the values of a category, the most frequent ones if it has many.
        quantiles: Bounds of groups of equal size, from minimum to maximum, of numbers.
        integer: True if the values are integers.
        most_values: Largest number of values in an example.
        present: Number of examples with the feature.
        values: Number of values, which may exceed the number of examples.
        counted: Number of values that ``buckets`` or ``fractions`` cover.
        zeros: Number of values equal to 0, of numbers.
    """

    name: str
    kind: str
    missing_pct: float
    mean: float | None = None
    std: float | None = None
    minimum: float | None = None
    median: float | None = None
    maximum: float | None = None
    unique: int | None = None
    buckets: tuple[Bucket, ...] = ()
    fractions: tuple[tuple[str, float], ...] = ()
    quantiles: tuple[float, ...] = ()
    integer: bool = False
    most_values: int = 1
    present: int = 0
    values: int = 0
    counted: float = 0.0
    zeros: int = 0


@dataclass(frozen=True, slots=True)
class SplitStatistics:
    """Statistics of one split.

    Args:
        split: Name of the split.
        examples: Number of examples.
        features: Features in the order of the file.
    """

    split: str
    examples: int
    features: tuple[FeatureStatistics, ...]

    def feature(self, name: str) -> FeatureStatistics | None:
        """Returns a feature by name, or ``None``."""
        return next((feature for feature in self.features if feature.name == name), None)


def read_statistics(folder: Path) -> tuple[SplitStatistics, ...]:
    """Reads the statistics of all splits; the training split comes first.

    Args:
        folder: Folder of the ``ExampleStatistics`` artifact.

    Raises:
        DataError: The statistics are missing or cannot be read.
    """
    paths = list(folder.glob(f"Split-*/{FILE_NAME}"))
    if not paths:
        raise DataError(f"No statistics ({FILE_NAME}) are in {folder}.")
    splits = [_read(path) for path in paths]
    return tuple(sorted(splits, key=lambda s: (s.split != "train", s.split)))


def _read(path: Path) -> SplitStatistics:
    message = read_message(statistics_pb2.DatasetFeatureStatisticsList, path)
    return _split(message, path.parent.name.removeprefix("Split-"))


def split_statistics(serialized: bytes, split: str) -> SplitStatistics:
    """Returns the statistics of one split, which has no examples if the message is empty.

    Args:
        serialized: Message of the type ``DatasetFeatureStatisticsList``.
        split: Name of the split.
    """
    return _split(statistics_pb2.DatasetFeatureStatisticsList.FromString(serialized), split)


def _split(message: Any, split: str) -> SplitStatistics:
    # With slices, the first dataset covers all examples.
    dataset = message.datasets[0] if message.datasets else None
    if dataset is None:
        return SplitStatistics(split, 0, ())
    examples = int(dataset.num_examples)
    return SplitStatistics(split, examples, tuple(_feature(f, examples) for f in dataset.features))


def _feature(message: Any, examples: int) -> FeatureStatistics:
    name = message.name or ".".join(message.path.step)
    kind = message.WhichOneof("stats")
    if kind is None:
        return FeatureStatistics(name, "bytes", 100.0)
    stats: Any = getattr(message, kind)
    present = int(stats.common_stats.num_non_missing)
    missing_pct = 100 * (1 - present / examples) if examples else 0.0
    # Statistics of other programs may lack the number of values.
    values = int(stats.common_stats.tot_num_values) or present
    integer = message.type == statistics_pb2.FeatureNameStatistics.INT
    most_values = int(stats.common_stats.max_num_values)
    if kind == "num_stats":
        return FeatureStatistics(
            name=name,
            kind="number",
            missing_pct=missing_pct,
            mean=stats.mean,
            std=stats.std_dev,
            minimum=stats.min,
            median=stats.median,
            maximum=stats.max,
            buckets=_buckets(stats),
            quantiles=_quantiles(stats),
            integer=integer,
            most_values=most_values,
            present=present,
            values=values,
            counted=sum(b.sample_count for b in _standard(stats)),
            zeros=int(stats.num_zeros),
        )
    fractions = _fractions(stats) if kind == "string_stats" else ()
    counted = sum(b.sample_count for b in stats.rank_histogram.buckets) if fractions else 0.0
    unique = stats.unique if kind in ("string_stats", "bytes_stats") else None
    kind = "category" if fractions else "bytes"
    return FeatureStatistics(
        name,
        kind,
        missing_pct,
        unique=unique,
        fractions=fractions,
        integer=integer,
        most_values=most_values,
        present=present,
        values=values,
        counted=counted,
    )


def _fractions(stats: Any) -> tuple[tuple[str, float], ...]:
    counts = [(b.label, b.sample_count) for b in stats.rank_histogram.buckets]
    total = sum(count for _, count in counts)
    if not total or any(label == _NO_TEXT for label, _ in counts):
        return ()
    return tuple((label, count / total) for label, count in counts)


def _buckets(stats: Any) -> tuple[Bucket, ...]:
    found = _standard(stats)
    total = sum(b.sample_count for b in found)
    return tuple(Bucket(b.low_value, b.high_value, b.sample_count / total) for b in found if total)


def _standard(stats: Any) -> list[Any]:
    standard = statistics_pb2.Histogram.STANDARD
    return [b for h in stats.histograms if h.type == standard for b in h.buckets]


def _quantiles(stats: Any) -> tuple[float, ...]:
    groups = next(
        (h.buckets for h in stats.histograms if h.type == statistics_pb2.Histogram.QUANTILES), ()
    )
    return tuple([b.low_value for b in groups] + [b.high_value for b in groups[-1:]])
