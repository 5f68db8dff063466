"""Launches a node of a compiled pipeline in this process, as TFX's local runner does.

Beyond ``tfx.v1``, this module imports the TFX modules that its runners are built from. They are
not public API, so the lock files pin the exact TFX version, and a test covers each module on both
TFX lines.
"""

# TFX declares no exports in its public modules.
# pyright: reportPrivateImportUsage=false

from typing import Any

from google.protobuf import json_format
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from tfx_feeder.pipeline.orchestration.compiled_pipeline import CompiledPipeline


def launch(compiled: CompiledPipeline, node_id: str, run_id: str, connection: Any) -> None:
    """Runs the driver, cache lookup, executor and publisher of a node.

    Args:
        compiled: The compiled pipeline.
        node_id: Id of the node.
        run_id: Id of the run.
        connection: ``ConnectionConfig`` of ML Metadata.

    Raises:
        Exception: The executor failed; any type that it may raise.
    """
    pipeline = json_format.ParseDict(dict(compiled.pipeline), pipeline_pb2.Pipeline())
    runtime_parameter_utils.substitute_runtime_parameter(
        pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
    )
    deployment = runner_utils.extract_local_deployment_config(pipeline)
    [node] = [n.pipeline_node for n in pipeline.nodes if n.pipeline_node.node_info.id == node_id]
    launcher.Launcher(
        pipeline_node=node,
        mlmd_connection=metadata.Metadata(connection),
        pipeline_info=pipeline.pipeline_info,
        pipeline_runtime_spec=pipeline.runtime_spec,
        executor_spec=runner_utils.extract_executor_spec(deployment, node_id),
        custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node_id),
    ).launch()
