"""The front part of the reference pipeline: it reads a span and gathers its statistics.

A later run of the whole pipeline takes both from the cache.
"""

from pathlib import Path

from rich.console import Console

from tfx_feeder.pipeline.metadata.store import make_store
from tfx_feeder.pipeline.pipeline import create_pipeline
from tfx_feeder.pipeline.runner.configure import configure
from tfx_feeder.pipeline.runner.launch import DONE, RunRequest
from tfx_feeder.pipeline.runner.local import run_locally

LAST_NODE = "StatisticsGen"


def run(request: RunRequest, console: Console, log: Path) -> int:
    """Runs it once.

    Args:
        request: What the user asked for; with a span.
        console: Where it is said what is done.
        log: Where the details are.

    Returns:
        Exit status: 0.

    Raises:
        ConfigError: A setting cannot work.
        DataError: The images cannot be used.
    """
    config, _ = configure(request)
    line = f"Gathering the statistics of span {config.span}. Log: {log}"
    console.print(line, highlight=False, markup=False, soft_wrap=True)
    run_locally(create_pipeline(config), make_store(config.workspace.metadata), until=[LAST_NODE])
    return DONE
