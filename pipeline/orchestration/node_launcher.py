"""Launches a node of a compiled pipeline in this process, as TFX's local runner does.

Beyond ``tfx.v1``, this module imports the TFX modules that its runners are built from. They are
not public API, so the lock files pin the exact TFX version, and a test covers each module on both
TFX lines.
"""

# TFX declares no exports in its public modules.
# pyright: reportPrivateImportUsage=false

from pathlib import Path
from typing import Any

from google.protobuf import json_format
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import (
    beam_executor_operator,
    data_types,
    launcher,
    python_executor_operator,
    runtime_parameter_utils,
)
from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2

from tfx_feeder.pipeline.orchestration.compiled_pipeline import CompiledPipeline
from tfx_feeder.schemas.file_record import sync_folders


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
        custom_executor_operators={
            executable_spec_pb2.PythonClassExecutableSpec: _PythonOperator,
            executable_spec_pb2.BeamExecutableSpec: _BeamOperator,
        },
    ).launch()


class _PythonOperator(python_executor_operator.PythonExecutorOperator):
    """Runs an executor, and flushes its outputs to the disk before TFX publishes them."""

    def run_executor(self, execution_info: data_types.ExecutionInfo) -> Any:
        """Returns the output of the executor."""
        output = super().run_executor(execution_info)
        _sync_outputs(execution_info)
        return output


class _BeamOperator(beam_executor_operator.BeamExecutorOperator):
    """Runs an executor on Beam, and flushes its outputs before TFX publishes them."""

    def run_executor(self, execution_info: data_types.ExecutionInfo, *arguments: Any) -> Any:
        """Returns the output of the executor."""
        output = super().run_executor(execution_info, *arguments)
        _sync_outputs(execution_info)
        return output


def _sync_outputs(execution_info: data_types.ExecutionInfo) -> None:
    uris = [artifact.uri for group in execution_info.output_dict.values() for artifact in group]
    paths = (Path(uri) for uri in uris if "://" not in uri)
    sync_folders(path for path in paths if path.exists())
