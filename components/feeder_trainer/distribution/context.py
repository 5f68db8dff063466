"""Distribution context: model scope, steps and data shard that a strategy provides."""

import contextlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.options import STRATEGIES, Strategy
from tfx_feeder.components.feeder_trainer.feed.sharding import Shard
from tfx_feeder.components.feeder_trainer.training.process_group import ProcessGroup, SingleProcess


@dataclass(frozen=True)
class DistributionContext:
    """Resources of a training under a strategy.

    Args:
        steps: Makes the compiled steps; called as ``CompiledSteps`` is.
        scope: Model, optimizer and metrics are made in it.
        team: The processes that run the loop.
        share: What this process's feed delivers of each global batch.
        replicas: Copies of the model that share a global batch.
        close: Gives back what the placement holds.
    """

    steps: Callable[..., Any]
    scope: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    team: ProcessGroup = field(default_factory=SingleProcess)
    share: Shard = field(default_factory=Shard)
    replicas: int = 1
    close: Callable[[], None] = lambda: None


def open_context(strategy: Strategy, task: ClusterTask | None) -> DistributionContext:
    """Prepares this process for its part of a training.

    Args:
        strategy: Any but ``auto``.
        task: The place of this process in a cluster, where there is one.

    Raises:
        ConfigError: The machine does not have what the strategy needs.
    """
    module = importlib.import_module(STRATEGIES[strategy.name].module)
    return module.open_context(strategy, task)
