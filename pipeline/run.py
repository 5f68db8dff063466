"""One run of the reference pipeline: settings, span, execution, outcome."""

# TFX declares no exports in its public modules.
# pyright: reportPrivateImportUsage=false

from collections.abc import Collection
from pathlib import Path

import ml_metadata as mlmd
from absl import logging as absl_logging
from rich.console import Console
from tfx import v1 as tfx

from tfx_feeder.components.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.plan import Policy
from tfx_feeder.components.feeder_trainer.schedule import Schedule
from tfx_feeder.components.feeder_trainer.scheduling.notation import read_schedule
from tfx_feeder.pipeline import outcome as outcomes
from tfx_feeder.pipeline import summary
from tfx_feeder.pipeline.configs import FULL_SCHEDULE, SHORT_SCHEDULE, PipelineConfig
from tfx_feeder.pipeline.data_sets import DataSet, open_data_set
from tfx_feeder.pipeline.launch import DONE, NOT_BLESSED, ComponentError, Request
from tfx_feeder.pipeline.lineage import Lineage
from tfx_feeder.pipeline.pipeline import create_pipeline
from tfx_feeder.pipeline.progress import RunProgress
from tfx_feeder.pipeline.store import cancel_unfinished, make_store
from tfx_feeder.pipeline.workspace import Workspace


def run(request: Request, console: Console, log: Path) -> int:
    """Runs the pipeline once.

    Args:
        request: What the user asked for.
        console: Where progress and summary are shown.
        log: Where the details are.

    Returns:
        Exit status: 0 done, 3 the model was not blessed.

    Raises:
        ConfigError: A setting cannot work.
        DataError: The images cannot be used.
        ComponentError: A component failed.
    """
    schedule = choose_schedule(request.schedule, full=request.full)
    root = request.root.absolute()
    data = open_data_set(request.data, root / "data")
    workspace = Workspace(root, data.name)
    workspace.prepare()
    store = make_store(workspace.metadata)
    lineage = Lineage(store, data.name)
    done = lineage.spans_done() if data.spans else set()
    config = PipelineConfig(
        data=data,
        root=root,
        span=choose_span(data, request.span, done),
        schedule=schedule,
        strategy=request.strategy,
        enable_cache=request.cache,
    )
    for line in summary.opening(config, done, chosen=request.span is not None):
        console.print(line, highlight=False, soft_wrap=True)
    run_id = _execute(config, store, console)
    outcome = outcomes.gather(config, lineage, run_id)
    for part in summary.closing(outcome, lineage.spans_done() if data.spans else set(), log):
        console.print(part, highlight=False, soft_wrap=isinstance(part, str))
    return DONE if outcome.judgement.blessed else NOT_BLESSED


def choose_schedule(text: str | None, *, full: bool) -> Schedule | Policy:
    """Returns the schedule or policy that was asked for; the short one by default.

    Raises:
        ConfigError: The text cannot be read, or both are given.
    """
    if text is None:
        return FULL_SCHEDULE if full else SHORT_SCHEDULE
    if full:
        raise ConfigError("schedule", received=text, expected="either --schedule or --full")
    return read_schedule(text)


def choose_span(data: DataSet, wanted: int | None, done: Collection[int]) -> int | None:
    """Returns the span to train on: the wanted one, else the first that is not done.

    Where all are done it is the last, which then comes from the cache.
    """
    if wanted is not None or not data.spans:
        return wanted
    return next((span for span in data.spans if span not in done), data.spans[-1])


def _execute(config: PipelineConfig, store: mlmd.MetadataStore, console: Console) -> str:
    """Runs the components one after another; returns the id of the run."""
    pipeline = create_pipeline(config)
    lineage = Lineage(store, config.name)
    before = lineage.run_ids()
    # Not through the logger: others save and restore this level around their work.
    absl_logging.set_verbosity(absl_logging.INFO)
    with RunProgress(console) as progress:
        try:
            tfx.orchestration.LocalDagRunner().run(pipeline)
        except BaseException as error:
            for run_id in lineage.run_ids()[len(before) :]:
                cancel_unfinished(store, run_id)
            if isinstance(error, Exception) and progress.current:
                raise ComponentError(progress.current) from error
            raise
    return lineage.run_ids()[-1]
