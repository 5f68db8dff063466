"""Examples of a serving log in Beam: reading, statistics, and labels that came later."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow_data_validation as tfdv
from tfx_bsl.tfxio import tf_example_record

from tfx_feeder.components.slice_gen.annotate import feature_values, parse
from tfx_feeder.components.slice_gen.labels import (
    NO_KEY,
    UNMATCHED,
    Label,
    fitted,
    join,
    key_of,
    read_labels,
)
from tfx_feeder.components.slice_gen.log_options import LabelOptions, ServingLogOptions
from tfx_feeder.components.slice_gen.passes import COUNTS, CountingDoFn
from tfx_feeder.components.slice_gen.scratch import Scratch
from tfx_feeder.components.slice_gen.serving_log import (
    ServingLogCounts,
    log_files,
    read_serving_log,
)
from tfx_feeder.schemas.slices import Remark
from tfx_feeder.schemas.statistics import SplitStatistics, split_statistics

LOG, LABELS = "serving_log", "labels"
"""Names of both inputs, in remarks."""
SERVED = "served"
"""Name of the temporary files of examples that can be evaluated."""
_EXAMPLES = "examples"


@dataclass(frozen=True, slots=True)
class ServedInputs:
    """Serving log and labels.

    Args:
        log: File or folder of the log.
        options: Options of reading it.
        labels: File or folder of labels, if any.
        label_options: Options of joining them.
        label: Name of the feature with the label; examples without it are not evaluated. Empty if
            it is unknown.
        label_kind: Kind of the values of the label in the schema, such as ``int64_list``; empty if
            it is unknown.
        baseline: Statistics of the training data.
        schema: Schema by which the statistics of the training data were computed, if any.
    """

    log: Path
    options: ServingLogOptions = field(default_factory=ServingLogOptions)
    labels: Path | None = None
    label_options: LabelOptions | None = None
    label: str = ""
    label_kind: str = ""
    baseline: SplitStatistics | None = None
    schema: Any = None


@dataclass(frozen=True, slots=True)
class Served:
    """Examples of a serving log; those that can be evaluated are in the files ``SERVED``.

    Args:
        statistics: Statistics of all examples.
        usable: Number of examples that can be evaluated.
        remarks: Records, examples and labels that were left out.
    """

    statistics: SplitStatistics
    usable: int
    remarks: tuple[Remark, ...]


def read_served(
    make_pipeline: Callable[[], beam.Pipeline], inputs: ServedInputs, scratch: Scratch
) -> Served:
    """Reads a serving log once, computes its statistics, and joins the labels.

    Args:
        make_pipeline: Creates a Beam pipeline.
        inputs: Serving log and labels.
        scratch: Temporary files.

    Raises:
        DataError: There is no such log, or the labels cannot be read.
    """
    with make_pipeline() as pipeline:
        read = _read(pipeline, inputs)
        scratch.write_counts(read[COUNTS], "log_counts")
        examples = read[_EXAMPLES]
        _write_statistics(examples, inputs.schema, scratch)
        usable = _labeled(pipeline, examples, inputs, scratch)
        _ = usable | "WriteServed" >> beam.io.WriteToTFRecord(scratch.path(SERVED))
        scratch.write_json(usable | "CountServed" >> beam.combiners.Count.Globally(), "usable")
    remarks = [
        Remark(subject, reason, count)
        for subject, name in ((LOG, "log_counts"), (LABELS, "label_counts"))
        for reason, count in sorted(scratch.read_counts(name).items())
    ]
    statistics = split_statistics(next(scratch.read_records("statistics"), b""), LOG)
    if not statistics.examples:
        remarks.append(Remark(LOG, "it has no examples that can be read"))
    (usable,) = scratch.read_json("usable")
    return Served(statistics, usable, tuple(remarks))


def read_log(pipeline: beam.Pipeline, inputs: ServedInputs) -> beam.PCollection:
    """Reads the examples of a serving log once more.

    Args:
        pipeline: Pipeline that reads.
        inputs: Serving log.
    """
    return _read(pipeline, inputs)[_EXAMPLES]


def _read(pipeline: beam.Pipeline, inputs: ServedInputs) -> Any:
    files: Any = pipeline | "LogFiles" >> beam.Create([str(f) for f in log_files(inputs.log)])
    return (
        files
        | "SpreadFiles" >> beam.Reshuffle()
        | "ReadLog" >> beam.ParDo(_ReadLog(inputs.options)).with_outputs(COUNTS, main=_EXAMPLES)
    )


def _write_statistics(examples: beam.PCollection, schema: Any, scratch: Scratch) -> None:
    source = tf_example_record.TFExampleBeamRecord(
        physical_format="tfrecord", telemetry_descriptors=["tfx_feeder", "SliceGen"]
    )
    _ = (
        examples
        | "ToArrow" >> source.BeamSource()
        | "Statistics" >> tfdv.GenerateStatistics(tfdv.StatsOptions(schema=schema))
        | "Serialize" >> beam.Map(lambda statistics: statistics.SerializeToString())
        | "WriteStatistics" >> beam.io.WriteToTFRecord(scratch.path("statistics"))
    )


def _labeled(
    pipeline: beam.Pipeline, examples: beam.PCollection, inputs: ServedInputs, scratch: Scratch
) -> beam.PCollection:
    """Returns the examples with a label."""
    options = inputs.label_options
    if inputs.labels is None or options is None:
        if not inputs.label:
            return examples
        found = examples | "Labeled" >> beam.ParDo(_HasLabel(inputs.label)).with_outputs(
            COUNTS, main=_EXAMPLES
        )
        scratch.write_counts(found[COUNTS], "label_counts")
        return found[_EXAMPLES]
    keyed = examples | "KeyOfExample" >> beam.ParDo(_KeyExample(options)).with_outputs(
        COUNTS, main=_EXAMPLES
    )
    labels = (
        pipeline
        | "LabelFiles" >> beam.Create([str(f) for f in log_files(inputs.labels)])
        | "SpreadLabelFiles" >> beam.Reshuffle()
        | "ReadLabels"
        >> beam.ParDo(_ReadLabels(options, inputs.label_kind)).with_outputs(COUNTS, main=LABELS)
    )
    joined = (
        {_EXAMPLES: keyed[_EXAMPLES], LABELS: labels[LABELS]}
        | "Join" >> beam.CoGroupByKey()
        | "Label" >> beam.ParDo(_Join(options)).with_outputs(COUNTS, main=_EXAMPLES)
    )
    counts = (keyed[COUNTS], labels[COUNTS], joined[COUNTS]) | "LabelCounts" >> beam.Flatten()
    scratch.write_counts(counts, "label_counts")
    return joined[_EXAMPLES]


class _ReadLog(CountingDoFn):
    def __init__(self, options: ServingLogOptions) -> None:
        self._options = options

    def process(self, path: str) -> Iterator[bytes]:
        counts = ServingLogCounts()
        yield from read_serving_log([Path(path)], self._options, counts)
        self._counts.update(counts.set_aside)
        self._counts.update(counts.noted)


class _HasLabel(CountingDoFn):
    def __init__(self, label: str) -> None:
        self._label = label

    def process(self, serialized: bytes) -> Iterator[bytes]:
        if feature_values(parse(serialized).features.feature, self._label):
            yield serialized
        else:
            self._counts[UNMATCHED] += 1


class _KeyExample(CountingDoFn):
    def __init__(self, options: LabelOptions) -> None:
        self._options = options

    def process(self, serialized: bytes) -> Iterator[tuple[str, bytes]]:
        # Examples without a key must not meet in one group, which is held in memory.
        if key := key_of(serialized, self._options):
            yield key, serialized
        else:
            self._counts[f"example with {NO_KEY}"] += 1


class _ReadLabels(CountingDoFn):
    def __init__(self, options: LabelOptions, kind: str) -> None:
        self._options = options
        self._kind = kind

    def process(self, path: str) -> Iterator[tuple[str, Label]]:
        for label in read_labels(Path(path), self._options):
            if label.key:
                yield label.key, fitted(label, self._kind)
            else:
                self._counts[f"label with {label.problem}"] += 1


class _Join(CountingDoFn):
    def __init__(self, options: LabelOptions) -> None:
        self._options = options

    def process(self, group: tuple[str, dict[str, list[Any]]]) -> Iterator[bytes]:
        key, sides = group
        labeled = join(key, list(sides[_EXAMPLES]), list(sides[LABELS]), self._options)
        self._counts.update(labeled.problems)
        yield from labeled.examples
