"""One device, one batch after another."""

from tfx_feeder.components.feeder_trainer.placing.placement import Placement
from tfx_feeder.components.feeder_trainer.placing.task import Task
from tfx_feeder.components.feeder_trainer.step import CompiledSteps
from tfx_feeder.components.feeder_trainer.strategies import Strategy


def open_placement(strategy: Strategy, task: Task | None) -> Placement:
    """See ``placement.open_placement``."""
    del strategy, task
    return Placement(CompiledSteps)
