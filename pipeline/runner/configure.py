"""Resolves the request of a user to the configuration of a pipeline."""

from collections.abc import Collection

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule
from tfx_feeder.components.feeder_trainer.schedules.policy import Policy
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.pipeline.configs import FULL_SCHEDULE, SHORT_SCHEDULE, PipelineConfig
from tfx_feeder.pipeline.datasets import Dataset, open_data_set
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.store import create_store
from tfx_feeder.pipeline.runner.launch import RunRequest
from tfx_feeder.pipeline.workspace import Workspace


def configure(request: RunRequest, store: str | None = None) -> tuple[PipelineConfig, set[int]]:
    """Returns the configuration of a run, and the spans of completed runs.

    Downloads or generates the data and creates the store if they do not exist yet.

    Args:
        request: Settings of the run.
        store: ML Metadata store of the runs, as for ``open_store``; ``None`` for the SQLite file
            below the root.

    Raises:
        ConfigError: A setting is invalid.
        DataError: The images are invalid.
    """
    schedule = select_schedule(request.schedule, full=request.full)
    root = request.root.absolute()
    data = open_data_set(request.data, root / "data")
    workspace = Workspace(root, data.name)
    workspace.prepare()
    lineage = Lineage(create_store(store or workspace.metadata), data.name)
    done = lineage.spans_done() if data.spans else set()
    config = PipelineConfig(
        data=data,
        root=root,
        span=select_span(data, request.span, done),
        schedule=schedule,
        strategy=request.strategy,
        beam_args=request.beam_args,
        enable_cache=request.cache,
        plan=request.plan,
    )
    return config, done


def select_schedule(text: str | None, *, full: bool) -> Schedule | Policy:
    """Returns the requested schedule or policy; the short schedule by default.

    Args:
        text: Schedule in a notation of ``parse_schedule``.
        full: If True, returns the long schedule.

    Raises:
        ConfigError: The text is malformed, or both arguments are given.
    """
    if text is None:
        return FULL_SCHEDULE if full else SHORT_SCHEDULE
    if full:
        raise ConfigError("schedule", received=text, expected="either --schedule or --full")
    return parse_schedule(text)


def select_span(data: Dataset, requested: int | None, done: Collection[int]) -> int | None:
    """Returns the requested span, or else the first span without a completed run.

    If all spans are done, returns the last one, which is then served from the cache.

    Args:
        data: Data set.
        requested: Span requested by the user; ``None`` for the next one.
        done: Spans of completed runs.
    """
    if requested is not None or not data.spans:
        return requested
    return next((span for span in data.spans if span not in done), data.spans[-1])
