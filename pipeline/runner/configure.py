"""From what a user asked for to the settings of a run."""

from collections.abc import Collection

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule
from tfx_feeder.components.feeder_trainer.schedules.policy import Policy
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.pipeline.configs import FULL_SCHEDULE, SHORT_SCHEDULE, PipelineConfig
from tfx_feeder.pipeline.datasets import Dataset, open_data_set
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.store import make_store
from tfx_feeder.pipeline.runner.launch import RunRequest
from tfx_feeder.pipeline.workspace import Workspace


def configure(request: RunRequest, store: str | None = None) -> tuple[PipelineConfig, set[int]]:
    """Returns the settings of a run, and the spans that earlier runs were trained on.

    The data is fetched or made, and the store opened, where they are not there yet.

    Args:
        request: What the user asked for.
        store: Where runs are recorded; see ``open_store``. ``None``: below the root.

    Raises:
        ConfigError: A setting cannot work.
        DataError: The images cannot be used.
    """
    schedule = choose_schedule(request.schedule, full=request.full)
    root = request.root.absolute()
    data = open_data_set(request.data, root / "data")
    workspace = Workspace(root, data.name)
    workspace.prepare()
    lineage = Lineage(make_store(store or workspace.metadata), data.name)
    done = lineage.spans_done() if data.spans else set()
    config = PipelineConfig(
        data=data,
        root=root,
        span=choose_span(data, request.span, done),
        schedule=schedule,
        strategy=request.strategy,
        beam_args=request.beam_args,
        enable_cache=request.cache,
        plan=request.plan,
    )
    return config, done


def choose_schedule(text: str | None, *, full: bool) -> Schedule | Policy:
    """Returns the schedule or policy that was asked for; the short one by default.

    Raises:
        ConfigError: The text cannot be read, or both are given.
    """
    if text is None:
        return FULL_SCHEDULE if full else SHORT_SCHEDULE
    if full:
        raise ConfigError("schedule", received=text, expected="either --schedule or --full")
    return parse_schedule(text)


def choose_span(data: Dataset, wanted: int | None, done: Collection[int]) -> int | None:
    """Returns the span to train on: the wanted one, else the first that is not done.

    Where all are done it is the last, which then comes from the cache.
    """
    if wanted is not None or not data.spans:
        return wanted
    return next((span for span in data.spans if span not in done), data.spans[-1])
