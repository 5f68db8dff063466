"""First part of the reference pipeline: reads a span and computes its statistics.

A later run of the whole pipeline takes both from the cache.
"""

from pathlib import Path

from rich.console import Console

from tfx_feeder.pipeline.metadata.store import create_store
from tfx_feeder.pipeline.ownership import PipelineLock
from tfx_feeder.pipeline.pipeline import create_pipeline
from tfx_feeder.pipeline.runner.configure import configure
from tfx_feeder.pipeline.runner.launch import DONE, RunRequest
from tfx_feeder.pipeline.runner.local import run_locally

LAST_NODE = "StatisticsGen"


def run(request: RunRequest, console: Console, log: Path) -> int:
    """Runs the first part of the pipeline.

    Args:
        request: Settings of the run, including a span.
        console: Console for progress output.
        log: Log file.

    Returns:
        Exit status 0.

    Raises:
        ConfigError: A setting is invalid.
        DataError: The images are invalid.
        BusyError: Another process runs the pipeline.
    """
    config, _ = configure(request)
    line = f"Computing the statistics of span {config.span}. Log: {log}"
    console.print(line, highlight=False, markup=False, soft_wrap=True)
    store, lock = create_store(config.workspace.metadata), PipelineLock(config.root, config.name)
    with lock.hold(request.command):
        run_locally(create_pipeline(config), store, lock, until=[LAST_NODE])
    return DONE
