"""Runs a pipeline in this process, and closes the executions of an interrupted run."""

# TFX declares no exports in its public modules.
# pyright: reportPrivateImportUsage=false

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
from absl import logging as absl_logging
from tfx import v1 as tfx
from tfx.dsl.compiler import constants
from tfx.orchestration.pipeline import RunOptions
from tfx.orchestration.portable import runtime_parameter_utils

from tfx_feeder.pipeline.metadata.integrity import check_outputs_are_known
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.store import close_run
from tfx_feeder.pipeline.ownership import PipelineLock
from tfx_feeder.pipeline.runner.durable_run import durable_outputs
from tfx_feeder.pipeline.runner.launch import root_cause

_ABANDONED = "The process ended before it closed its executions."


class _Runner(tfx.orchestration.LocalDagRunner):
    """Local runner with a given run id; TFX would take the time and tell nobody."""

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self._run_id = run_id

    def run_with_ir(self, pipeline: Any, run_options: Any = None) -> None:
        parameters = {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self._run_id}
        runtime_parameter_utils.substitute_runtime_parameter(pipeline, parameters)
        super().run_with_ir(pipeline, run_options)


def new_run_id() -> str:
    """Returns the current time as the id of a run, as TFX's runner does."""
    return datetime.now().isoformat()


def run_locally(
    pipeline: tfx.dsl.Pipeline,
    store: mlmd.MetadataStore,
    lock: PipelineLock,
    *,
    run_id: str | None = None,
    until: Sequence[str] = (),
) -> str:
    """Runs the components of a pipeline in order.

    Executions that an earlier owner of the lock left open, because its process was killed, are
    closed first.

    Args:
        pipeline: Any TFX pipeline.
        store: Store of the pipeline's connection, open for writing.
        lock: Lock of the pipeline, which the caller holds.
        run_id: Id of the run, which no other run has; ``None``: the current time.
        until: Ids of the last nodes to run: only these and their upstream nodes run. If empty, all
            nodes run.

    Returns:
        Id of the run.

    Raises:
        ConfigError: The root contains outputs that the store does not list.
    """
    for abandoned in lock.abandoned_runs():
        close_run(store, abandoned, _ABANDONED)
    info = pipeline.pipeline_info
    nodes = [component.id for component in pipeline.components]
    check_outputs_are_known(store, Path(info.pipeline_root), nodes)
    run_id = run_id or new_run_id()
    lock.begin_run(run_id)
    lineage = Lineage(store, info.pipeline_name)
    # Set the absl verbosity, because other code saves and restores the level of the logger.
    absl_logging.set_verbosity(absl_logging.INFO)
    try:
        with durable_outputs(store, lineage, Path(info.pipeline_root)):
            _Runner(run_id).run(pipeline, RunOptions(to_nodes=until) if until else None)
    except BaseException as error:
        # If this fails too, or is interrupted, the next owner of the lock closes the run.
        close_run(store, run_id, root_cause(error))
        lock.end_run()
        raise
    lock.end_run()
    return run_id
