"""One device, one batch after another."""

from tfx_feeder.components.feeder_trainer.distribution.cluster import Task
from tfx_feeder.components.feeder_trainer.distribution.context import Placement
from tfx_feeder.components.feeder_trainer.distribution.options import Strategy
from tfx_feeder.components.feeder_trainer.training.train_step import CompiledSteps


def open_placement(strategy: Strategy, task: Task | None) -> Placement:
    """See ``placement.open_placement``."""
    del strategy, task
    return Placement(CompiledSteps)
