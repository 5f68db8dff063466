"""Executor of SliceGen: artifacts to plain values and back."""

import json
import os
from pathlib import Path
from typing import Any

from absl import logging
from tfx import types
from tfx.components.example_gen import write_split
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from tfx_feeder.common.errors import ConfigError, DataError
from tfx_feeder.common.mounts import local_path
from tfx_feeder.components.slice_gen.generate import EVAL, Inputs, generate
from tfx_feeder.components.slice_gen.options import SliceGenOptions
from tfx_feeder.schemas import slices as document
from tfx_feeder.schemas.file_record import seal
from tfx_feeder.schemas.statistics import SplitStatistics, read_statistics

_Artifacts = dict[str, list[types.Artifact]]

_SPAN, _VERSION = "span", "version"


class Executor(base_beam_executor.BaseBeamExecutor):
    """Annotates examples with their slices; see ``SliceGen``."""

    def Do(
        self, input_dict: _Artifacts, output_dict: _Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Writes the annotated examples and the list of slices.

        Raises:
            ConfigError: An option names a split or a feature that does not exist.
            DataError: The examples are no ``tf.train.Example`` records, or an input is unreadable.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        options = SliceGenOptions.from_dict(json.loads(exec_properties["options"]))
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        annotated = artifact_utils.get_single_instance(output_dict["annotated_examples"])
        record = artifact_utils.get_single_instance(output_dict["slices"])
        annotated.split_names = artifact_utils.encode_split_names([EVAL])
        slices = generate(
            self._make_beam_pipeline,
            _inputs(input_dict, examples, options),
            options,
            output=os.path.join(
                artifact_utils.get_split_uri([annotated], EVAL),
                write_split.DEFAULT_TF_RECORD_FILE_NAME,
            ),
            temporary=os.path.join(annotated.uri, "temporary"),
        )
        for remark in slices.remarks:
            logging.warning("%s", remark)
        document.write(slices, Path(local_path(record.uri)))
        _describe(annotated, examples, slices)
        for origin in document.ORIGINS:
            if count := len(slices.of_origin(origin)):
                record.set_int_custom_property(f"slices_{origin}", count)
        record.set_int_custom_property("remarks", len(slices.remarks))
        seal(output_dict)


def _inputs(inputs: _Artifacts, examples: types.Artifact, options: SliceGenOptions) -> Inputs:
    if examples_utils.get_payload_format(examples) != example_gen_pb2.FORMAT_TF_EXAMPLE:
        raise DataError("SliceGen reads tf.train.Example records; the examples are of another type")
    existing = artifact_utils.decode_split_names(examples.split_names)
    for split in options.splits:
        if split not in existing:
            raise ConfigError(
                "splits", received=split, expected=f"a split of the examples: {existing}"
            )
    statistics = _statistics(inputs, "statistics", options)
    if statistics is None:
        raise DataError("SliceGen has no statistics of the examples.")
    model = _first(inputs, "model")
    return Inputs(
        examples=tuple(artifact_utils.get_split_uri([examples], s) for s in options.splits),
        statistics=statistics,
        features=_features(artifact_utils.get_single_instance(inputs["schema"])),
        baseline=_statistics(inputs, "baseline_statistics", options),
        model=path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
        if model
        else None,
    )


def _features(schema: types.Artifact) -> tuple[str, ...]:
    message = io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(schema.uri))
    return tuple(feature.name for feature in message.feature)


def _statistics(inputs: _Artifacts, key: str, options: SliceGenOptions) -> SplitStatistics | None:
    """Returns the statistics of an annotated split, or of another if there are none."""
    artifact = _first(inputs, key)
    if artifact is None:
        return None
    splits = {split.split: split for split in read_statistics(Path(local_path(artifact.uri)))}
    # The training split comes first.
    chosen = [split for name, split in splits.items() if name in options.splits]
    return next(iter(chosen or splits.values()))


def _first(inputs: _Artifacts, key: str) -> types.Artifact | None:
    return next(iter(inputs.get(key) or ()), None)


def _describe(annotated: types.Artifact, source: types.Artifact, slices: document.Slices) -> None:
    examples_utils.set_payload_format(annotated, example_gen_pb2.FORMAT_TF_EXAMPLE)
    examples_utils.set_file_format(
        annotated, write_split.to_file_format_str(example_gen_pb2.FORMAT_TFRECORDS_GZIP)
    )
    for split, count in slices.examples.items():
        annotated.set_int_custom_property(f"num_examples_{split}", count)
    for name in (_SPAN, _VERSION):
        # ExampleGen declares them as properties in some releases and adds them in others.
        if source.has_custom_property(name):
            annotated.set_int_custom_property(name, int(source.get_custom_property(name)))
