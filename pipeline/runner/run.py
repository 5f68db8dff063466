"""Runs the reference pipeline once: configuration, execution, summary and report."""

# The client of ML Metadata declares no exports.
# pyright: reportPrivateImportUsage=false

import logging
from collections.abc import Collection
from pathlib import Path

import ml_metadata as mlmd
from rich.console import Console

from tfx_feeder.pipeline.configs import PipelineConfig
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.lookup import find_run
from tfx_feeder.pipeline.metadata.store import create_store
from tfx_feeder.pipeline.ownership import PipelineLock
from tfx_feeder.pipeline.pipeline import create_pipeline
from tfx_feeder.pipeline.report.write import write_report
from tfx_feeder.pipeline.runner import summary
from tfx_feeder.pipeline.runner.configure import configure
from tfx_feeder.pipeline.runner.launch import DONE, NOT_BLESSED, ComponentError, RunRequest
from tfx_feeder.pipeline.runner.local import new_run_id, run_locally
from tfx_feeder.pipeline.runner.progress import RunProgress
from tfx_feeder.pipeline.runner.result import RunResult


def run(request: RunRequest, console: Console, log: Path) -> int:
    """Runs the pipeline once.

    Args:
        request: Settings of the run.
        console: Console for progress and summary.
        log: Log file.

    Returns:
        Exit status: 0 success, 3 model not blessed.

    Raises:
        ConfigError: A setting is invalid.
        DataError: The images are invalid.
        BusyError: Another process runs the pipeline.
        ComponentError: A component failed.
    """
    config, done = configure(request)
    lock = PipelineLock(config.root, config.name)
    with lock.hold(request.command):
        return _run(request, config, done, lock, console, log)


def _run(
    request: RunRequest,
    config: PipelineConfig,
    done: Collection[int],
    lock: PipelineLock,
    console: Console,
    log: Path,
) -> int:
    store = create_store(config.workspace.metadata)
    for line in summary.print_start(config, done, span_given=request.span is not None):
        console.print(line, highlight=False, soft_wrap=True)
    lineage = Lineage(store, config.name)
    run_id = new_run_id()
    try:
        _execute(config, store, lock, run_id, console)
    except ComponentError:
        report = _report(config, lineage, run_id)
        console.print(summary.report_line(report), highlight=False, soft_wrap=True)
        raise
    result = RunResult.collect(config, lineage, run_id)
    report = _report(config, lineage, run_id)
    done = lineage.spans_done() if config.data.spans else set()
    for part in summary.print_summary(result, done, log, report):
        console.print(part, highlight=False, soft_wrap=isinstance(part, str))
    return DONE if result.evaluation.blessed else NOT_BLESSED


def _execute(
    config: PipelineConfig,
    store: mlmd.MetadataStore,
    lock: PipelineLock,
    run_id: str,
    console: Console,
) -> None:
    """Runs the components in order."""
    pipeline = create_pipeline(config)
    with RunProgress(console) as progress:
        try:
            run_locally(pipeline, store, lock, run_id=run_id)
        except Exception as error:
            if progress.current:
                raise ComponentError(progress.current) from error
            raise


def _report(config: PipelineConfig, lineage: Lineage, run_id: str) -> Path | None:
    """Writes the report of a run; a failure here must not fail the run."""
    try:
        return write_report(lineage, find_run(lineage, run_id), str(config.root)).path
    except Exception:
        logging.exception("The report could not be written.")
        return None
