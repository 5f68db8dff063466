"""Peer averaging: every worker trains its own replica and averages it with snapshots from peers.

This is asynchronous decentralized training. A worker takes an optimizer step on its shard of each
global batch; then its weights become the mean of its own and the newest unused snapshot of each
peer. It never waits for a peer, so a snapshot may be some steps old; its staleness is recorded.
Optimizer slots, random states and integer variables stay local.

Workers synchronize in two places only: at the start all take the chief's weights, and
``GossipSteps.synchronize`` gives all of them the mean, for validation, checkpoint and result.

Related work: AD-PSGD (Lian et al., ICML 2018, "Asynchronous Decentralized Parallel Stochastic
Gradient Descent") averages with a random neighbor; GoSGD (Blot et al. 2016, "Gossip training for
deep learning") sends weights to random peers without waiting for an answer. Here the recipients
are fixed: all peers, or the next one in a ring.
"""

import dataclasses
import functools
import itertools
import math
import os
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import VARIABLE, ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.context import DistributionContext
from tfx_feeder.components.feeder_trainer.distribution.options import PeerAveraging
from tfx_feeder.components.feeder_trainer.distribution.peer_averaging.exchange import Exchange, mean
from tfx_feeder.components.feeder_trainer.distribution.peer_averaging.flat_variables import (
    FlatVariables,
)
from tfx_feeder.components.feeder_trainer.distribution.peer_averaging.group import (
    TIMEOUT_S,
    PeerGroup,
)
from tfx_feeder.components.feeder_trainer.distribution.peer_averaging.node import PeerNode
from tfx_feeder.components.feeder_trainer.feed.rows import count_rows, dataset_of_one
from tfx_feeder.components.feeder_trainer.feed.sharding import Shard
from tfx_feeder.components.feeder_trainer.training.model_calls import Adapter
from tfx_feeder.components.feeder_trainer.training.progress import log_warning
from tfx_feeder.components.feeder_trainer.training.train_step import (
    COLUMNS,
    DEFAULT_STEP_OPTIONS,
    STEP_S,
    CompiledSteps,
    StepOptions,
)

MAX_EXCHANGE_FRACTION = 0.2
"""Maximum fraction of the training time spent on averaging; short steps are grouped to keep it."""

_MEDIAN_WINDOW = 15


def open_context(
    strategy: PeerAveraging, task: ClusterTask | None, *, timeout_s: float = TIMEOUT_S
) -> DistributionContext:
    """See ``context.open_context``; returns when all workers have joined.

    Args:
        strategy: Peer averaging with its exchange pattern.
        task: Task of this process.
        timeout_s: Time without a response after which a worker counts as failed, in seconds.

    Raises:
        ConfigError: There is no cluster, or the address of this process is in use.
        PeerLostError: A worker did not start.
    """
    task = task or ClusterTask.required_from_env(os.environ)
    if task.type == "ps":
        raise ConfigError(
            VARIABLE,
            received=f"{task.type} {task.index}",
            expected="a cluster of workers without parameter servers",
        )
    node = PeerNode(task.trainers, task.rank, task.token)
    group = PeerGroup(node, timeout_s=timeout_s)
    exchange = Exchange(node, strategy.exchange)

    def close() -> None:
        group.close()
        node.close()
        exchange.close()

    node.start()
    try:
        group.start()
    except BaseException:
        close()
        raise
    shard = Shard(task.rank, group.size)
    return DistributionContext(
        functools.partial(GossipSteps, group, exchange, shard),
        process_group=group,
        shard=shard,
        replicas=group.size,
        close=close,
    )


def steps_per_exchange(step_s: float, exchange_s: float) -> int:
    """Returns the smallest ``k`` for which ``exchange_s / (exchange_s + k * step_s)`` is allowed.

    The limit is ``MAX_EXCHANGE_FRACTION``.

    Args:
        step_s: Duration of a step in seconds.
        exchange_s: Duration of an exchange in seconds.

    Example:
        >>> steps_per_exchange(step_s=0.010, exchange_s=0.002)
        1
        >>> steps_per_exchange(step_s=0.001, exchange_s=0.002)
        8
    """
    return max(1, math.ceil(exchange_s / step_s * (1 / MAX_EXCHANGE_FRACTION - 1)))


class GossipSteps(CompiledSteps):
    """Compiled steps on this worker's shard, with an exchange after each step or after several.

    Reading the weights out of the graph, averaging them and writing them back takes time. If a
    step is short, several run in one compiled call before the next exchange: as few as keep the
    exchange within ``MAX_EXCHANGE_FRACTION`` of the time, based on the medians of the last
    measurements.

    Args:
        group: Process group of the workers.
        exchange: Exchange of snapshots with the peers.
        shard: Shard of this worker in a global batch.
        model: Compiled model.
        adapt: See ``CompiledSteps``.
        options: Options of the steps.

    Raises:
        ConfigError: The options require the noise scale, but a worker has the gradients of its
            shard only.
    """

    _sums_metrics = True

    def __init__(
        self,
        group: PeerGroup,
        exchange: Exchange,
        shard: Shard,
        model: keras.Model,
        adapt: Adapter,
        options: StepOptions = DEFAULT_STEP_OPTIONS,
    ) -> None:
        if options.noise_scale:
            raise ConfigError(
                "strategy",
                received="peer_averaging",
                expected="a synchronous strategy for a schedule that uses the gradient noise scale",
            )
        self.replicas = group.size
        self.steps_per_exchange = 1
        self._group = group
        self._exchange = exchange
        self._shard = shard
        self._step = 0
        self._is_diverged = False
        self._step_s: deque[float] = deque(maxlen=_MEDIAN_WINDOW)
        self._exchange_s: deque[float] = deque(maxlen=_MEDIAN_WINDOW)
        super().__init__(model, adapt, options)

    @property
    def staleness(self) -> dict[str, float]:
        """Statistics of this worker's exchange: ``ExchangeStats`` and three more.

        ``steps_per_exchange``: latest number of steps between exchanges; ``exchange_ms``: median
        duration of an exchange; ``failed_workers``: number of workers that failed.
        """
        return {
            **dataclasses.asdict(self._exchange.stats),
            "steps_per_exchange": self.steps_per_exchange,
            "exchange_ms": 1e3 * float(np.median(self._exchange_s)) if self._exchange_s else 0.0,
            "failed_workers": len(self._group.failed),
        }

    def history_note(self) -> str:
        """See ``CompiledSteps.history_note``."""
        s = self.staleness
        return (
            f"Snapshot staleness: mean {s['mean_staleness']:.1f} steps, max {s['max_staleness']}. "
            f"Snapshots: {s['used']} used, {s['dropped']} replaced by newer ones, {s['failed']} "
            f"not delivered, {s['refused']} refused. Exchange: {s['exchange_ms']:.1f} ms, every "
            f"{s['steps_per_exchange']} steps at the end. Failed workers: {s['failed_workers']}."
        )

    def train(self, iterator: Any, sizes: Sequence[int]) -> np.ndarray:
        """Trains on this worker's shard of each batch; see ``CompiledSteps.train``.

        The duration of an exchange is part of the steps before it. A step with an empty shard is a
        row of zeros.
        """
        if not self._step:
            self._start()
        rows = []
        while sizes:
            count = self.steps_per_exchange
            rows.append(self._train_and_exchange(iterator, sizes[:count]))
            sizes = sizes[count:]
        return np.concatenate(rows)

    def profile(self, iterator: Any, sizes: Sequence[int]) -> np.ndarray:
        """See ``CompiledSteps.profile``; nothing is sent to the peers."""
        return self._on_shard(super().train, iterator, sizes)

    def evaluate(self, iterator: Any, sizes: Sequence[int]) -> None:
        """Updates the metrics with this worker's shard; ``synchronize`` sums them."""
        self._on_shard(super().evaluate, iterator, sizes)

    def synchronize(self) -> None:
        """Sets all workers' weights to their mean, and the chief's metrics to the sum over all.

        All workers call this method at the same point. The other workers reset their metrics, so
        nothing is counted twice. A worker whose weights are not finite takes over the mean of the
        others.
        """
        metrics, weights = self._flat
        own_metrics = metrics.read()
        own_weights = weights.read() if self._is_diverged else np.empty(0, own_metrics.dtype)
        is_finite = bool(np.isfinite(own_weights).all())
        if not is_finite:
            log_warning("The weights of a worker are not finite; the mean leaves them out.")
            own_weights = np.zeros_like(own_weights)
        count = np.full(1, is_finite, own_metrics.dtype)
        total = self._group.all_reduce_sum(np.concatenate([own_metrics, own_weights, count]))
        if self._group.is_chief:
            metrics.write(total[: own_metrics.size])
        else:
            self.model.reset_metrics()
        if self._is_diverged:
            if total[-1]:
                weights.write(total[own_metrics.size : -1] / total[-1])
            self._exchange.clear()
            self._is_diverged = False

    @functools.cached_property
    def _flat(self) -> tuple[FlatVariables, FlatVariables]:
        """Metrics and weights; created on first use, because they exist only after ``build``."""
        metrics = FlatVariables(self.model.metrics_variables, integers=True)
        return metrics, FlatVariables(self.model.weights)

    def _start(self) -> None:
        """Takes over the chief's weights, which it may have restored from a checkpoint."""
        _, weights = self._flat
        weights.write(self._group.broadcast_array(weights.read()))
        if not self._group.is_chief:
            self.model.reset_metrics()

    def _train_and_exchange(self, iterator: Any, sizes: Sequence[int]) -> np.ndarray:
        traces, begin = self.traces, time.perf_counter()
        rows = self._on_shard(super().train, iterator, sizes)
        trained = time.perf_counter()
        self._step += len(sizes)
        self._exchange_weights()
        exchange_s = time.perf_counter() - trained
        rows[:, STEP_S] += exchange_s / len(sizes)
        if self.traces == traces:
            self._step_s.append((trained - begin) / len(sizes))
            self._exchange_s.append(exchange_s)
            self.steps_per_exchange = steps_per_exchange(
                float(np.median(self._step_s)), float(np.median(self._exchange_s))
            )
        return rows

    def _exchange_weights(self) -> None:
        _, weights = self._flat
        own = weights.read()
        snapshots = self._exchange.drain(self._step, own.size)
        if snapshots:
            own = mean(own, snapshots)
            weights.write(own)
        self._exchange.publish(self._step, own)
        self._is_diverged = True

    def _on_shard(self, run: Any, iterator: Any, sizes: Sequence[int]) -> np.ndarray:
        """Runs ``run(iterator, sizes)`` on this worker's shards, and skips empty shards."""
        count = self._shard.count
        rows = [np.empty((0, COLUMNS))]
        # A batch may span two passes, and each of its parts may be divided unevenly.
        for is_large, group in itertools.groupby(sizes, lambda size: size >= 2 * count):
            shard_sizes = [size // count for size in group]
            if is_large:
                results = [run(iterator, shard_sizes)]
            else:
                results = [self._on_small_shard(run, next(iterator)) for _ in shard_sizes]
            rows += [result for result in results if result is not None]
        return np.concatenate(rows)

    def _on_small_shard(self, run: Any, batch: tuple) -> np.ndarray | None:
        """Runs a function on a shard that may be empty; an empty shard is a row of zeros."""
        size = int(count_rows(batch))
        return run(iter(dataset_of_one(batch)), [size]) if size else np.zeros((1, COLUMNS))
