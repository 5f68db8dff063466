"""Work of a runner: a pipeline whose only component waits until the file ``go`` appears."""

import os
import time
from pathlib import Path

from tfx import v1 as tfx
from tfx.dsl.component.experimental.decorators import component

from tfx_feeder.pipeline.metadata.store import create_store
from tfx_feeder.pipeline.ownership import PipelineLock
from tfx_feeder.pipeline.runner.local import run_locally


@component
def Wait(
    examples: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.Examples],
    root: tfx.dsl.components.Parameter[str],
):
    Path(examples.uri).mkdir(parents=True, exist_ok=True)
    Path(root, f"waiting-{os.getpid()}").touch()
    while not Path(root, "go").exists():
        time.sleep(0.01)


def run(request, console, log) -> int:
    """Runs the pipeline, and prints its id."""
    store = request.root / "metadata.sqlite"
    pipeline = tfx.dsl.Pipeline(
        pipeline_name=request.data,
        pipeline_root=str(request.root / "artifacts"),
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(store)
        ),
        components=[Wait(root=str(request.root))],
        enable_cache=False,
    )
    lock = PipelineLock(request.root, request.data)
    with lock.hold(request.command):
        console.print(f"run {run_locally(pipeline, create_store(store), lock)}")
    return 0
