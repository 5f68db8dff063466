"""Launches a node of a compiled pipeline in this process, as TFX's own local runner does.

The modules of TFX beside ``tfx.v1`` that are imported here are what its runners are made of. They
are no public API, so the locks pin TFX exactly, and a test guards each of them on both lines.
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


def launch(file: CompiledPipeline, node_id: str, run_id: str, connection: Any) -> None:
    """Runs a node: driver, cache, executor, publisher.

    Args:
        file: The compiled pipeline.
        node_id: Id of a node of it.
        run_id: Of the run.
        connection: ``ConnectionConfig`` of ML Metadata.

    Raises:
        Exception: Whatever its executor raised.
    """
    pipeline = json_format.ParseDict(dict(file.pipeline), pipeline_pb2.Pipeline())
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
