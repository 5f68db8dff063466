"""Serialization of the options in TFX execution properties."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2
from tfx.proto import example_gen_pb2
from tfx.types import standard_component_specs as specs
from tfx.utils import proto_utils

from tfx_feeder.components.image_example_gen.options import IngestOptions


def pack(options: IngestOptions) -> example_gen_pb2.CustomConfig:
    """Packs the options into the custom configuration of ExampleGen."""
    values = struct_pb2.Struct()
    values.update(options.as_dict())
    config = example_gen_pb2.CustomConfig()
    config.custom_config.Pack(values)
    return config


def unpack(exec_properties: Mapping[str, Any]) -> IngestOptions:
    """Reads the options from the execution properties."""
    config = example_gen_pb2.CustomConfig()
    proto_utils.json_to_proto(exec_properties[specs.CUSTOM_CONFIG_KEY], config)
    values = struct_pb2.Struct()
    config.custom_config.Unpack(values)
    return IngestOptions.from_dict(json_format.MessageToDict(values))


def input_patterns(exec_properties: Mapping[str, Any]) -> dict[str, str]:
    """Returns the patterns of the input splits by split name."""
    config = example_gen_pb2.Input()
    proto_utils.json_to_proto(exec_properties[specs.INPUT_CONFIG_KEY], config)
    return {split.name: split.pattern for split in config.splits}
