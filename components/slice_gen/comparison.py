"""Comparison of two data sets: by their statistics, and by a classifier that sees examples."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import apache_beam as beam
import numpy as np

from tfx_feeder.components.slice_gen.annotate import parse
from tfx_feeder.components.slice_gen.carriers import carriers
from tfx_feeder.components.slice_gen.classifier_test import Separation, classifier_test
from tfx_feeder.components.slice_gen.drift import compare_statistics
from tfx_feeder.components.slice_gen.encoders import Encoder, interval_encoder
from tfx_feeder.components.slice_gen.feature_table import (
    FeatureTable,
    feature_table,
    with_properties,
)
from tfx_feeder.components.slice_gen.options import SliceGenOptions
from tfx_feeder.components.slice_gen.passes import Sample, hash_of
from tfx_feeder.components.slice_gen.scratch import Scratch
from tfx_feeder.schemas.drift_report import DriftReport
from tfx_feeder.schemas.slices import SLICES_FEATURE, Evidence, Predicate
from tfx_feeder.schemas.statistics import SplitStatistics

_SPARE = 1.2
"""Factor by which more examples are sampled, as the size of a sample by content varies."""
_QUANTILES = 101
_KEY_BYTES = 8


@dataclass(frozen=True, slots=True)
class DataSet:
    """Data to compare.

    Args:
        statistics: Statistics of the features.
        read: Function that reads the serialized examples in a Beam pipeline; ``None`` if they are
            not available.
        examples: Number of examples that ``read`` gives.
    """

    statistics: SplitStatistics
    read: Callable[[beam.Pipeline], beam.PCollection] | None = None
    examples: int = 0


@dataclass(frozen=True, slots=True)
class Compared:
    """Outcome of a comparison.

    Args:
        report: Verdict on each feature.
        carriers: Slices that carry the difference.
        properties: Encoders of properties of images, if they were compared.
    """

    report: DriftReport
    carriers: Mapping[Predicate, Evidence]
    properties: Mapping[str, Encoder]


class Comparer:
    """Compares data sets with the same options.

    Args:
        make_pipeline: Creates a Beam pipeline.
        options: Options of the comparison.
        scratch: Temporary files.
    """

    def __init__(
        self,
        make_pipeline: Callable[[], beam.Pipeline],
        options: SliceGenOptions,
        scratch: Scratch,
    ) -> None:
        self._make_pipeline = make_pipeline
        self._options = options
        self._scratch = scratch

    def compare(
        self,
        kind: str,
        current: DataSet,
        baseline: DataSet,
        encoders: Mapping[str, Encoder],
        excluded: Collection[str] = (),
    ) -> Compared:
        """Compares two data sets.

        Args:
            kind: ``drift`` or ``serving_skew``.
            current: Current data.
            baseline: Data to compare with.
            encoders: Encoders by column.
            excluded: Features that are not compared, beside those of the options.
        """
        options = self._options.drift
        options = dataclasses.replace(options, excluded=(*options.excluded, *excluded))
        sides = current.statistics, baseline.statistics
        properties: dict[str, Encoder] = {}
        separation, table, rows = self.separate(kind, current, baseline, options.excluded)
        if separation is not None:
            sides = (
                with_properties(sides[0], table.properties(rows[0])),
                with_properties(sides[1], table.properties(rows[1])),
            )
            properties = {
                name: encoder
                for name, values in table.properties(rows[1]).items()
                if name not in encoders and (encoder := self._encoder(name, values)) is not None
            }
        report = compare_statistics(*sides, options, kind=kind)
        if separation is not None:
            report = dataclasses.replace(report, classifiers=separation.results)
        found = carriers(report, *sides, {**encoders, **properties})
        return Compared(report, found, properties)

    def separate(
        self, name: str, current: DataSet, baseline: DataSet, excluded: Collection[str]
    ) -> tuple[Separation | None, FeatureTable, tuple[np.ndarray, np.ndarray]]:
        """Tests whether a classifier tells two data sets apart.

        Args:
            name: Name of the temporary files.
            current: Current data.
            baseline: Data to compare with.
            excluded: Features that the classifier does not see.

        Returns:
            Result of the test, columns, and a sample of both sides, ``[examples, columns]``. No
            result if the options or the data do not provide for it.
        """
        sides = (current, baseline)
        table = feature_table(
            [side.statistics for side in sides],
            (*excluded, *_hidden(self._options), SLICES_FEATURE),
            self._options.image_feature,
        )
        empty = np.zeros((0, table.columns), np.float32)
        if self._options.classifier is None or any(side.read is None for side in sides):
            return None, table, (empty, empty)
        first, second = (
            self._rows(side, table, f"{name}_{position}") for position, side in enumerate(sides)
        )
        return classifier_test(first, second, self._options.classifier), table, (first, second)

    def _rows(self, data: DataSet, table: FeatureTable, name: str) -> np.ndarray:
        """Returns the rows of a sample, in an order that does not depend on that of the files."""
        if data.read is None or self._options.classifier is None or not data.examples:
            return np.zeros((0, table.columns), np.float32)
        fraction = min(1.0, _SPARE * self._options.classifier.max_examples / data.examples)
        with self._make_pipeline() as pipeline:
            _ = (
                data.read(pipeline)
                | "SampleRows" >> beam.ParDo(Sample(fraction))
                | "ToRow" >> beam.ParDo(_ToRow(table))
                | "WriteRows" >> beam.io.WriteToTFRecord(self._scratch.path(name))
            )
        records = sorted(self._scratch.read_records(name))
        rows = [np.frombuffer(record[_KEY_BYTES:], np.float32) for record in records]
        return np.stack(rows) if rows else np.zeros((0, table.columns), np.float32)

    def _encoder(self, name: str, values: np.ndarray) -> Encoder | None:
        finite = values[np.isfinite(values)].astype(float)
        if not len(finite):
            return None
        quantiles = np.quantile(finite, np.linspace(0, 1, _QUANTILES)).tolist()
        return interval_encoder(name, quantiles, self._options.intervals)


class _ToRow(beam.DoFn):
    """Converts serialized Examples to rows of a table, after a hash by which they are sorted."""

    def __init__(self, table: FeatureTable) -> None:
        self._table = table

    def process(self, serialized: bytes) -> Iterator[bytes]:
        key = hash_of(serialized).to_bytes(_KEY_BYTES, "big")
        yield key + self._table(parse(serialized)).tobytes()


def _hidden(options: SliceGenOptions) -> list[str]:
    """Returns the labels, of which a difference is no difference of the inputs."""
    named = [options.loss and options.loss.label, options.labels and options.labels.label]
    return [name for name in named if name]
