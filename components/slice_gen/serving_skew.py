"""Serving skew: a serving log compared with the training data, and what of it is evaluated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import apache_beam as beam

from tfx_feeder.components.slice_gen.comparison import Comparer, DataSet
from tfx_feeder.components.slice_gen.encoders import Encoder, extended
from tfx_feeder.components.slice_gen.options import SliceGenOptions
from tfx_feeder.components.slice_gen.passes import Sample, read_files
from tfx_feeder.components.slice_gen.resample import Acceptance, Resample
from tfx_feeder.components.slice_gen.scratch import Scratch
from tfx_feeder.components.slice_gen.served import (
    LOG,
    SERVED,
    Served,
    ServedInputs,
    read_log,
    read_served,
)
from tfx_feeder.components.slice_gen.split_slices import SplitSlices, translated
from tfx_feeder.schemas import drift_report
from tfx_feeder.schemas.drift_report import DriftReport
from tfx_feeder.schemas.slices import (
    SERVING_SKEW,
    SLICES_FEATURE,
    SPLIT,
    Evidence,
    Predicate,
    Remark,
)

Read = Callable[[beam.Pipeline], beam.PCollection]
"""Function that reads serialized Examples."""
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Skew:
    """Outcome of the comparison.

    Args:
        slices: Slices of the examples of the log.
        read: Function that reads those that are evaluated.
        reports: Verdict on each feature, if there are training data.
        remarks: Records, examples, labels and features that were left out.
    """

    slices: SplitSlices
    read: Read
    reports: tuple[DriftReport, ...]
    remarks: tuple[Remark, ...]


class SkewFinder:
    """Reads a serving log and compares it with the training data.

    Args:
        make_pipeline: Creates a Beam pipeline.
        inputs: Serving log and labels.
        options: Options of the comparison.
        scratch: Temporary files.
    """

    def __init__(
        self,
        make_pipeline: Callable[[], beam.Pipeline],
        inputs: ServedInputs,
        options: SliceGenOptions,
        scratch: Scratch,
    ) -> None:
        self._make_pipeline = make_pipeline
        self._inputs = inputs
        self._options = options
        self._scratch = scratch
        self._comparer = Comparer(make_pipeline, options, scratch)
        self._reports: list[DriftReport] = []
        self._remarks: list[Remark] = []

    def find(self, current: SplitSlices, read_current: Read, examples: int) -> Skew:
        """Reads the log and compares it.

        Args:
            current: Slices of the current examples, which the log has as well.
            read_current: Function that reads the current examples, with which a classifier compares
                those of the log.
            examples: Number of current examples.

        Raises:
            DataError: There is no such log, or the labels cannot be read.
        """
        served = read_served(self._make_pipeline, self._inputs, self._scratch)
        self._remarks += served.remarks
        encoders = {
            name: extended(encoder, served.statistics.feature(name), self._options.max_values)
            for name, encoder in current.encoders.items()
        }
        kept = translated(current.kept, current.encoders, encoders)
        skewed = self._skewed(served, encoders, read_current, examples)
        slices = SplitSlices(SERVING_SKEW, encoders, current.crosses, kept, {SERVING_SKEW: skewed})
        read = self._sampled(served)
        return Skew(slices, read, tuple(self._reports), tuple(self._remarks))

    def _skewed(
        self, served: Served, encoders: dict[str, Encoder], read_current: Read, examples: int
    ) -> Mapping[Predicate, Evidence]:
        if self._inputs.baseline is None:
            return {}
        compared = self._comparer.compare(
            drift_report.SERVING_SKEW,
            DataSet(served.statistics, self._read_log, served.statistics.examples),
            DataSet(self._inputs.baseline, read_current, examples),
            encoders,
            # A log has no labels, and those that came later are of a part of it.
            [self._inputs.label, SLICES_FEATURE],
        )
        encoders |= compared.properties
        self._reports.append(compared.report)
        if served.statistics.examples:
            self._remarks += [
                Remark(LOG, f"it lacks the feature {row.feature!r}")
                for row in compared.report.features
                if row.verdict == drift_report.MISSING and not row.current_examples
            ]
        return compared.carriers

    def _sampled(self, served: Served) -> Read:
        """Returns a function that reads the examples with a label, sampled to resemble the log."""
        separation, table, (_, rows) = self._comparer.separate(
            "labeled",
            DataSet(served.statistics, self._read_log, served.statistics.examples),
            DataSet(served.statistics, self._read_usable, served.usable),
            [self._inputs.label],
        )
        classifier = self._options.classifier
        if separation is None or classifier is None or not separation.drifted:
            fraction = min(1.0, self._options.max_served / max(served.usable, 1))
            return lambda pipeline: (
                self._read_usable(pipeline) | "Sample" >> beam.ParDo(Sample(fraction))
            )
        acceptance = Acceptance(separation, rows, classifier.clip)
        accepted = acceptance.mean * served.usable
        reason = "those with a label differ from the log; a sample resembles it, of about"
        self._remarks.append(Remark(f"{SPLIT} {SERVING_SKEW}", reason, round(accepted)))
        resample = Resample(acceptance, table, min(1.0, self._options.max_served / accepted))
        return lambda pipeline: (
            self._read_usable(pipeline)
            | "Batch" >> beam.BatchElements(min_batch_size=_BATCH, max_batch_size=_BATCH)
            | "Resample" >> beam.ParDo(resample)
        )

    def _read_log(self, pipeline: beam.Pipeline) -> beam.PCollection:
        return read_log(pipeline, self._inputs)

    def _read_usable(self, pipeline: beam.Pipeline) -> beam.PCollection:
        return read_files(pipeline, self._scratch.path(SERVED))
