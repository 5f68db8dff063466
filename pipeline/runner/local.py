"""Runs a pipeline in this process, and closes the executions of an interrupted run."""

# TFX declares no exports in its public modules.
# pyright: reportPrivateImportUsage=false

from collections.abc import Sequence

import ml_metadata as mlmd
from absl import logging as absl_logging
from tfx import v1 as tfx
from tfx.orchestration.pipeline import RunOptions

from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.store import close_run
from tfx_feeder.pipeline.runner.launch import root_cause


def run_locally(
    pipeline: tfx.dsl.Pipeline, store: mlmd.MetadataStore, until: Sequence[str] = ()
) -> str:
    """Runs the components of a pipeline in order.

    Args:
        pipeline: Any TFX pipeline.
        store: Store of the pipeline's connection, open for writing.
        until: Ids of the last nodes to run: only these and their upstream nodes run. If empty, all
            nodes run.

    Returns:
        Id of the run.
    """
    options = RunOptions(to_nodes=until) if until else None
    lineage = Lineage(store, pipeline.pipeline_info.pipeline_name)
    before = lineage.run_ids()
    # Set the absl verbosity, because other code saves and restores the level of the logger.
    absl_logging.set_verbosity(absl_logging.INFO)
    try:
        tfx.orchestration.LocalDagRunner().run(pipeline, options)
    except BaseException as error:
        for run_id in lineage.run_ids()[len(before) :]:
            close_run(store, run_id, root_cause(error))
        raise
    return lineage.run_ids()[-1]
