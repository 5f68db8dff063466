"""Executor of ImageExampleGen: runs the ingestion on Beam and writes the artifact."""

import os
from typing import Any

import apache_beam as beam
import tensorflow as tf
from tfx import types
from tfx.components.example_gen import base_example_gen_executor, write_split
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as specs

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen import classes, rejections
from tfx_feeder.components.image_example_gen.exec_properties import input_patterns, unpack
from tfx_feeder.components.image_example_gen.ingest import ReadImages
from tfx_feeder.components.image_example_gen.sources import class_table, open_sources
from tfx_feeder.schemas.file_record import seal

_METRICS = "tfx_feeder.ImageExampleGen"


class Executor(base_example_gen_executor.BaseExampleGenExecutor):
    """Executor with the input and output splits of the stock ExampleGen."""

    def GetInputSourceToExamplePTransform(self) -> Any:
        """Returns the transform of the only input split, in the form that the base class calls."""
        (split,) = self._reading
        return lambda exec_properties, pattern: self._reading[split]

    def GenerateExamplesByBeam(
        self, pipeline: beam.Pipeline, exec_properties: dict[str, Any]
    ) -> dict[str, beam.PCollection]:
        """Partitions a single input split by hash; named input splits are kept."""
        if len(self._reading) == 1:
            return super().GenerateExamplesByBeam(pipeline, exec_properties)
        return {
            split: pipeline | f"InputToRecord[{split}]" >> transform
            for split, transform in self._reading.items()
        }

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the splits, ``classes.json`` and ``rejected.jsonl``.

        Unlike in the stock ExampleGen, records are not shuffled when they are written, because
        Beam's local runner would hold all of them in memory.

        Raises:
            DataError: Too many records were rejected, or a split is empty.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict[specs.EXAMPLES_KEY])
        options = unpack(exec_properties)
        sources = open_sources(
            exec_properties[specs.INPUT_BASE_KEY],
            input_patterns(exec_properties),
            options.source,
            allow_outside=options.allow_outside,
        )
        table = classes.ClassTable(options.classes) if options.classes else class_table(sources)
        parts = os.path.join(examples.uri, "rejected-")
        self._reading = {
            split: ReadImages(source, table, f"{parts}{split}", options.max_pixels)
            for split, source in sources.items()
        }
        pipeline = self._make_beam_pipeline()
        with pipeline:
            splits = self.GenerateExamplesByBeam(pipeline, exec_properties)
            examples.split_names = artifact_utils.encode_split_names(list(splits))
            for split, records in splits.items():
                _write(records, split, artifact_utils.get_split_uri([examples], split))
        listed = os.path.join(examples.uri, rejections.FILE_NAME)
        rejected = rejections.merge_rejections(parts, listed)
        accepted = {split: _count(pipeline.result, split) for split in splits}
        try:
            rejections.check(
                rejected, sum(accepted.values()), options.max_rejected_fraction, listed
            )
        except DataError as error:
            kept = rejections.preserve_list(listed, examples.uri)
            raise DataError(str(error).replace(listed, kept)) from None
        for split, count in accepted.items():
            if not count:
                raise DataError(f"The split {split!r} has no images. Images by split: {accepted}.")
        with tf.io.gfile.GFile(os.path.join(examples.uri, classes.FILE_NAME), "w") as file:
            file.write(table.to_json())
        _describe(examples, accepted, rejected, len(table.names))
        kinds = ", ".join(dict.fromkeys(source.kind for source in sources.values()))
        examples.set_string_custom_property("source", kinds)
        seal(output_dict)


def _write(records: beam.PCollection, split: str, folder: str) -> None:
    counter = beam.metrics.Metrics.counter(_METRICS, split)

    def serialize(example: tf.train.Example) -> bytes:
        counter.inc()
        return example.SerializeToString(deterministic=True)

    _ = (
        records
        | f"Serialize[{split}]" >> beam.Map(serialize)
        | f"WriteSplit[{split}]"
        >> beam.io.WriteToTFRecord(
            os.path.join(folder, write_split.DEFAULT_TF_RECORD_FILE_NAME), file_name_suffix=".gz"
        )
    )


def _count(result: Any, split: str) -> int:
    metric = beam.metrics.MetricsFilter().with_namespace(_METRICS).with_name(split)
    return sum(counter.result for counter in result.metrics().query(metric)["counters"])


def _describe(
    examples: types.Artifact, accepted: dict[str, int], rejected: dict[str, int], classes: int
) -> None:
    examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
    examples_utils.set_file_format(
        examples, write_split.to_file_format_str(example_gen_pb2.FORMAT_TFRECORDS_GZIP)
    )
    examples.set_int_custom_property("num_classes", classes)
    for split, count in accepted.items():
        examples.set_int_custom_property(f"num_examples_{split}", count)
    for reason, count in rejected.items():
        examples.set_int_custom_property(f"rejected_{reason}", count)
