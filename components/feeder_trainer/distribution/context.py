"""Distribution context: model scope, steps and data shard that a strategy provides."""

import contextlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.options import Strategy
from tfx_feeder.components.feeder_trainer.distribution.strategy_info import STRATEGIES
from tfx_feeder.components.feeder_trainer.feed.sharding import Shard
from tfx_feeder.components.feeder_trainer.training.process_group import ProcessGroup, SingleProcess


@dataclass(frozen=True)
class DistributionContext:
    """Resources that a strategy provides for training in this process.

    Args:
        steps: Function that creates the compiled steps; called with the arguments of
            ``CompiledSteps``.
        scope: Scope in which model, optimizer and metrics are created.
        process_group: Processes that run the training loop.
        shard: Shard of each global batch that the feed of this process delivers.
        replicas: Number of model replicas that divide a global batch.
        staleness: Expected mean staleness of a gradient, in updates.
        feed_device: Device to which the batches are copied ahead of their step; ``None`` for the
            memory of the host.
        close: Function that releases the resources.
    """

    steps: Callable[..., Any]
    scope: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    process_group: ProcessGroup = field(default_factory=SingleProcess)
    shard: Shard = field(default_factory=Shard)
    replicas: int = 1
    staleness: float = 0.0
    feed_device: str | None = None
    close: Callable[[], None] = lambda: None


def open_context(strategy: Strategy, task: ClusterTask | None) -> DistributionContext:
    """Opens the resources of a strategy in this process.

    Args:
        strategy: Distribution strategy; any except ``Auto``.
        task: Cluster task of this process; ``None`` outside a cluster.

    Raises:
        ConfigError: The machine lacks devices or a cluster that the strategy requires.
    """
    module = importlib.import_module(STRATEGIES[strategy.name].module)
    return module.open_context(strategy, task)
