"""Beam transform from a source to Examples and rejections."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import tensorflow as tf
from apache_beam import pvalue
from apache_beam.io import WriteToText
from apache_beam.pipeline import Pipeline
from apache_beam.typehints import with_input_types

from tfx_feeder.components.image_example_gen import images
from tfx_feeder.components.image_example_gen.classes import ClassTable
from tfx_feeder.components.image_example_gen.examples import to_example
from tfx_feeder.components.image_example_gen.options import MAX_PIXELS
from tfx_feeder.components.image_example_gen.rejections import Rejection
from tfx_feeder.components.image_example_gen.sources.base import ImageBatch, ImageFile, Source
from tfx_feeder.components.image_example_gen.storage import (
    READ_ERRORS,
    TooLargeError,
    cause_of,
    read_file,
)

_REJECTED = "rejected"
# No PNG or JPEG needs more than 16 bits in four channels, beside its metadata.
_BYTES_PER_PIXEL = 8
_METADATA_BYTES = 64 << 20


class ReadImages(beam.PTransform):
    """Reads, checks and encodes the images of a source.

    Only references are shuffled between workers; each image is read, encoded and released on one
    worker.

    Args:
        source: Data set to read.
        classes: Valid classes.
        rejected_prefix: Path prefix of the rejection lists.
        max_pixels: Limit of height times width; a larger image is rejected.
    """

    def __init__(
        self,
        source: Source,
        classes: ClassTable,
        rejected_prefix: str,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        super().__init__()
        self._source = source
        self._classes = classes
        self._rejected_prefix = rejected_prefix
        self._max_pixels = max_pixels

    def expand(self, input_or_inputs: Pipeline) -> pvalue.PCollection:
        """Returns the Examples; writes the rejections as a side output."""
        outputs = (
            input_or_inputs
            | "Source" >> beam.Create([None])
            | "References" >> beam.FlatMap(_References(self._source))
            | "Distribute" >> beam.Reshuffle()
            | "ToExamples"
            >> beam.ParDo(_ToExamples(self._source, self._classes, self._max_pixels)).with_outputs(
                _REJECTED, main="examples"
            )
        )
        _ = (
            outputs[_REJECTED]
            | "ToJson" >> beam.Map(Rejection.to_json)
            | "WriteRejected" >> WriteToText(self._rejected_prefix)
        )
        return outputs["examples"]


class _References:
    """Named callable; Beam cannot infer the type of a bound method of an unknown source."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __call__(self, _: None) -> Iterator[Any]:
        return self._source.chunks()


@with_input_types(Any)
class _ToExamples(beam.DoFn):
    def __init__(self, source: Source, classes: ClassTable, max_pixels: int) -> None:
        self._source = source
        self._classes = classes
        self._max_pixels = max_pixels

    def process(self, chunk: Any) -> Iterator[Any]:
        for item in self._source.read(chunk):
            results: Iterator[tf.train.Example | Rejection]
            if isinstance(item, ImageFile):
                results = iter([self._from_file(item)])
            elif isinstance(item, ImageBatch):
                results = self._from_batch(item)
            else:
                results = iter([item])
            for result in results:
                if isinstance(result, Rejection):
                    yield pvalue.TaggedOutput(_REJECTED, result)
                else:
                    yield result

    def _from_file(self, file: ImageFile) -> tf.train.Example | Rejection:
        try:
            label = self._classes.index(file.label)
        except KeyError:
            return Rejection(file.path, "label_outside_set", f"label {file.label!r}")
        try:
            data = read_file(file.path, self._max_pixels * _BYTES_PER_PIXEL + _METADATA_BYTES)
            return to_example(data, label, images.size_of(data, self._max_pixels), file.features)
        except images.ImageError as error:
            return Rejection(file.path, error.reason, str(error))
        except TooLargeError as error:
            return Rejection(file.path, "too_large", str(error))
        except (FileNotFoundError, tf.errors.NotFoundError):
            return Rejection(file.path, "missing_file", "no such file")
        except READ_ERRORS as error:
            return Rejection(file.path, "unreadable_file", cause_of(error))

    def _from_batch(self, batch: ImageBatch) -> Iterator[tf.train.Example | Rejection]:
        size = (batch.pixels.shape[1], batch.pixels.shape[2])
        encoded = images.encode_png(batch.pixels)
        for row, (image, label) in enumerate(zip(encoded, batch.labels.tolist(), strict=True)):
            try:
                index = self._classes.index(label)
            except KeyError:
                cause = f"label {label!r}"
                yield Rejection(batch.path, "label_outside_set", cause, batch.start + row)
                continue
            features = {name: column[row] for name, column in batch.features.items()}
            try:
                yield to_example(image, index, size, features)
            except ValueError as error:  # Such as an integer of more than 63 bits.
                yield Rejection(batch.path, "malformed_row", str(error), batch.start + row)
