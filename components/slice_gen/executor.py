"""Executor of SliceGen: artifacts to plain values and back."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx import types
from tfx.components.example_gen import write_split
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from tfx_feeder.common.errors import ConfigError, DataError
from tfx_feeder.common.mounts import local_path
from tfx_feeder.components.slice_gen.generate import Generated, generate
from tfx_feeder.components.slice_gen.inputs import Inputs
from tfx_feeder.components.slice_gen.log_options import EXAMPLE, PREDICTION_LOG
from tfx_feeder.components.slice_gen.options import SliceGenOptions
from tfx_feeder.components.slice_gen.served import ServedInputs
from tfx_feeder.schemas import drift_report
from tfx_feeder.schemas import slices as document
from tfx_feeder.schemas.file_record import seal
from tfx_feeder.schemas.slices import Slices
from tfx_feeder.schemas.statistics import SplitStatistics, read_statistics

_Artifacts = dict[str, list[types.Artifact]]

_SPAN, _VERSION = "span", "version"
_EXAMPLES = types.standard_artifacts.Examples.TYPE_NAME
_KINDS = {
    schema_pb2.BYTES: "bytes_list",
    schema_pb2.INT: "int64_list",
    schema_pb2.FLOAT: "float_list",
}
"""Field of a feature by the type in the schema."""


class Executor(base_beam_executor.BaseBeamExecutor):
    """Annotates examples with their slices; see ``SliceGen``."""

    def Do(
        self, input_dict: _Artifacts, output_dict: _Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Writes the annotated examples, the list of slices, and the drift report.

        Raises:
            ConfigError: An option names a split or a feature that does not exist.
            DataError: The examples are no ``tf.train.Example`` records, or an input is unreadable.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        options = SliceGenOptions.from_dict(json.loads(exec_properties["options"]))
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        annotated = artifact_utils.get_single_instance(output_dict["annotated_examples"])
        inputs = _inputs(input_dict, examples, options, exec_properties)
        # An Evaluator that names a split fails without it: they do not depend on the data.
        splits = json.loads(exec_properties["output_splits"])
        annotated.split_names = artifact_utils.encode_split_names(splits)
        made = generate(
            self._make_beam_pipeline,
            inputs,
            options,
            outputs={
                split: os.path.join(
                    artifact_utils.get_split_uri([annotated], split),
                    write_split.DEFAULT_TF_RECORD_FILE_NAME,
                )
                for split in splits
            },
            temporary=os.path.join(annotated.uri, "temporary"),
        )
        for remark in made.slices.remarks:
            logging.warning("%s", remark)
        _describe(annotated, examples, made.slices)
        _write_slices(output_dict, made)
        _write_reports(output_dict, made.reports)
        seal(output_dict)


def _inputs(
    inputs: _Artifacts,
    examples: types.Artifact,
    options: SliceGenOptions,
    parameters: Mapping[str, Any],
) -> Inputs:
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
    baseline = _statistics(inputs, "baseline_statistics", options)
    model = _first(inputs, "model")
    schema = _schema(inputs)
    return Inputs(
        examples=tuple(artifact_utils.get_split_uri([examples], s) for s in options.splits),
        statistics=statistics,
        features=tuple(feature.name for feature in schema.feature),
        baseline=baseline,
        model=path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
        if model
        else None,
        compared=_compared(inputs),
        served=_served(inputs, options, schema, parameters),
        baseline_examples=_baseline_examples(inputs, options),
    )


def _baseline_examples(inputs: _Artifacts, options: SliceGenOptions) -> tuple[str, ...]:
    artifact = _latest(inputs, "baseline_examples")
    if artifact is None:
        return ()
    existing = artifact_utils.decode_split_names(artifact.split_names)
    splits = [split for split in options.splits if split in existing] or existing
    return tuple(artifact_utils.get_split_uri([artifact], split) for split in splits)


def _schema(inputs: _Artifacts) -> schema_pb2.Schema:
    artifact = artifact_utils.get_single_instance(inputs["schema"])
    return io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(artifact.uri))


def _served(
    inputs: _Artifacts,
    options: SliceGenOptions,
    schema: schema_pb2.Schema,
    parameters: Mapping[str, Any],
) -> ServedInputs | None:
    artifact = _first(inputs, "serving_log") or _first(inputs, "served_examples")
    path = artifact.uri if artifact else parameters.get("serving_log_path")
    if not path:
        return None
    log_options = options.serving_log
    if artifact:
        payload = EXAMPLE if artifact.type_name == _EXAMPLES else PREDICTION_LOG
        log_options = dataclasses.replace(log_options, payload=payload)
    labels = parameters.get("labels")
    label = options.labels.label if options.labels else options.loss.label if options.loss else ""
    earlier = _all_statistics(inputs, "baseline_statistics")
    # The training split comes first.
    baseline = next(iter((earlier or _all_statistics(inputs, "statistics")).values()))
    return ServedInputs(
        log=Path(local_path(path)),
        options=log_options,
        labels=Path(local_path(labels)) if labels else None,
        label_options=options.labels,
        label=label,
        label_kind=next((_KINDS.get(f.type, "") for f in schema.feature if f.name == label), ""),
        baseline=baseline,
        # Integers are categories only in statistics that were computed by a schema.
        schema=schema
        if any(f.integer and f.kind == "category" for f in baseline.features)
        else None,
    )


def _statistics(inputs: _Artifacts, key: str, options: SliceGenOptions) -> SplitStatistics | None:
    """Returns the statistics of an annotated split, or of another if there are none."""
    splits = _all_statistics(inputs, key)
    # The training split comes first.
    chosen = [split for name, split in splits.items() if name in options.splits]
    return next(iter(chosen or splits.values()), None)


def _compared(inputs: _Artifacts) -> tuple[SplitStatistics, SplitStatistics] | None:
    """Returns current and earlier statistics of the first split that both have."""
    current = _all_statistics(inputs, "statistics")
    baseline = _all_statistics(inputs, "baseline_statistics")
    shared = next((split for split in current if split in baseline), None)
    return None if shared is None else (current[shared], baseline[shared])


def _all_statistics(inputs: _Artifacts, key: str) -> dict[str, SplitStatistics]:
    artifact = _latest(inputs, key)
    if artifact is None:
        return {}
    return {split.split: split for split in read_statistics(Path(local_path(artifact.uri)))}


def _first(inputs: _Artifacts, key: str) -> types.Artifact | None:
    return next(iter(inputs.get(key) or ()), None)


def _latest(inputs: _Artifacts, key: str) -> types.Artifact | None:
    return max(inputs.get(key) or (), key=lambda artifact: artifact.id, default=None)


def _write_slices(outputs: _Artifacts, made: Generated) -> None:
    record, slices = artifact_utils.get_single_instance(outputs["slices"]), made.slices
    folder = Path(local_path(record.uri))
    document.write(slices, folder)
    for name, strip in made.strips.items():
        path = document.strip_path(folder, name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(strip)
    for origin in document.ORIGINS:
        if count := len(slices.of_origin(origin)):
            record.set_int_custom_property(f"slices_{origin}", count)
    record.set_int_custom_property("remarks", len(slices.remarks))


def _write_reports(outputs: _Artifacts, reports: Sequence[drift_report.DriftReport]) -> None:
    record = artifact_utils.get_single_instance(outputs["drift_report"])
    drift_report.write(reports, Path(local_path(record.uri)))
    for name, value in drift_report.summary(reports).items():
        if isinstance(value, int):
            record.set_int_custom_property(name, value)
        else:
            record.set_string_custom_property(name, value)


def _describe(annotated: types.Artifact, source: types.Artifact, slices: Slices) -> None:
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
