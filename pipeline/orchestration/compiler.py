"""Compiles a TFX pipeline to the file that orchestrators read."""

# TFX declares no exports in its public modules.
# pyright: reportPrivateImportUsage=false

from collections.abc import Mapping, Sequence
from importlib.metadata import version

from google.protobuf import json_format
from tfx import v1 as tfx
from tfx.dsl.compiler import compiler

from tfx_feeder import __version__
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.orchestration.compiled_pipeline import CompiledPipeline
from tfx_feeder.pipeline.orchestration.resources import Resources


def compile_pipeline(
    pipeline: tfx.dsl.Pipeline,
    resources: Mapping[str, Resources] | None = None,
    exit_handlers: Sequence[str] = (),
) -> CompiledPipeline:
    """Compiles a pipeline.

    Args:
        pipeline: Pipeline as for any TFX runner, with a connection to ML Metadata.
        resources: Resource requests by node id; see ``CompiledPipeline.with_resources``.
        exit_handlers: Ids of the nodes that run last, even if other nodes failed.

    Raises:
        ConfigError: A node id does not exist in the pipeline, or the connection is missing.
    """
    if pipeline.metadata_connection_config is None:
        raise ConfigError(
            "metadata_connection_config",
            received=None,
            expected="the ML Metadata connection that all nodes share",
        )
    representation = compiler.Compiler().compile(pipeline)
    compiled = CompiledPipeline(
        pipeline=json_format.MessageToDict(representation, preserving_proto_field_name=True),
        versions={"tfx": version("tfx"), "tfx_feeder": __version__},
    )
    return compiled.with_resources(resources or {}, exit_handlers)
