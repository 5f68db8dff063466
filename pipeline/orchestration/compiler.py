"""From a TFX pipeline to the file that orchestrators read."""

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
        pipeline: As for any runner of TFX; with a connection to ML Metadata.
        resources: What nodes need, by node id; see ``CompiledPipeline.asking``.
        exit_handlers: Ids of nodes that run last, whatever became of the others.

    Raises:
        ConfigError: A node is named that the pipeline has not, or there is no connection.
    """
    if pipeline.metadata_connection_config is None:
        raise ConfigError(
            "metadata_connection_config",
            received=None,
            expected="the connection to ML Metadata that all nodes share",
        )
    representation = compiler.Compiler().compile(pipeline)
    file = CompiledPipeline(
        pipeline=json_format.MessageToDict(representation, preserving_proto_field_name=True),
        versions={"tfx": version("tfx"), "tfx_feeder": __version__},
    )
    return file.asking(resources or {}, exit_handlers)
