"""Peer averaging: every member trains a replica of its own, and averages it with what peers sent.

The uncoordinated form of distributed training. A member takes its share of each global batch and
its own optimizer step; then its weights become the mean of its own and the newest snapshot of each
peer that it has not used yet. It never waits for a peer, so a snapshot may be some steps old: its
staleness is recorded. Optimizer slots, random states and integers stay with their member.

Members agree only where they must: at the start all take the chief's weights, and
``GossipSteps.synchronize`` gives all of them the mean, for validation, checkpoint and result.
"""

import dataclasses
import functools
import itertools
import math
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
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
from tfx_feeder.components.feeder_trainer.feed.sharding import Shard
from tfx_feeder.components.feeder_trainer.training.train_step import (
    COLUMNS,
    DEFAULT_STEP_OPTIONS,
    STEP_S,
    Adapter,
    CompiledSteps,
    StepOptions,
)

EXCHANGE_SHARE = 0.2
"""Largest part of the time that averaging may take; short steps are run several at once for it."""

_REMEMBERED = 15


def open_context(
    strategy: PeerAveraging, task: ClusterTask | None, *, timeout_s: float = TIMEOUT_S
) -> DistributionContext:
    """See ``context.open_context``; returns when every member of the team is there.

    Args:
        strategy: Says how to exchange.
        task: Whose addresses the members listen on.
        timeout_s: Silence after which a member counts as lost.

    Raises:
        ConfigError: There is no cluster, or the own address is taken.
        PeerLostError: A member does not come up.
    """
    if task is None or task.type == "ps":
        raise ConfigError(
            "TF_CONFIG",
            received=task,
            expected="a cluster, and this process as one of its workers",
            fix='Let the orchestrator set it, or say cluster="local:2".',
        )
    node = PeerNode(task.members, task.position)
    team = PeerGroup(node, timeout_s=timeout_s)
    exchange = Exchange(node, strategy.exchange)

    def close() -> None:
        team.close()
        node.close()
        exchange.close()

    node.start()
    try:
        team.start()
    except BaseException:
        close()
        raise
    share = Shard(task.position, team.size)
    return DistributionContext(
        functools.partial(GossipSteps, team, exchange, share),
        team=team,
        share=share,
        replicas=team.size,
        close=close,
    )


def steps_per_exchange(step_s: float, exchange_s: float) -> int:
    """Returns the least ``k`` with exchange / (exchange + k * step) of at most its share.

    Example:
        >>> steps_per_exchange(step_s=0.010, exchange_s=0.002)
        1
        >>> steps_per_exchange(step_s=0.001, exchange_s=0.002)
        8
    """
    return max(1, math.ceil(exchange_s / step_s * (1 / EXCHANGE_SHARE - 1)))


class GossipSteps(CompiledSteps):
    """Compiled steps on this member's share, with an exchange after each or after a few.

    Reading the weights out of the graph, averaging and putting them back costs some time. Where a
    step is short, several run in one compiled call before the next exchange: as few as keep the
    exchange at ``EXCHANGE_SHARE`` of the time, by the medians of what was measured last.

    Args:
        team: The members.
        exchange: Snapshots to and from them.
        share: This member's part of a global batch.
        model: See ``CompiledSteps``, also for the other arguments.

    Raises:
        ConfigError: The noise scale is asked for: a member sees only the gradients of its share.
    """

    def __init__(
        self,
        team: PeerGroup,
        exchange: Exchange,
        share: Shard,
        model: keras.Model,
        adapt: Adapter,
        options: StepOptions = DEFAULT_STEP_OPTIONS,
    ) -> None:
        if options.noise_scale:
            raise ConfigError(
                "strategy",
                received="peer_averaging",
                expected="a synchronous strategy for a schedule that follows the noise scale",
            )
        self.replicas = team.size
        self.steps_per_exchange = 1
        self._team = team
        self._exchange = exchange
        self._share = share
        self._step = 0
        self._moved = False
        self._step_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._exchange_s: deque[float] = deque(maxlen=_REMEMBERED)
        super().__init__(model, adapt, options)

    @property
    def staleness(self) -> dict[str, float]:
        """What this member's exchange came to, as ``peer_exchange.Figures``, and how often it was.

        ``steps_per_exchange`` is the latest; ``exchange_ms`` is what the step lost to it, in the
        median; ``lost`` counts the members that ended early.
        """
        return {
            **dataclasses.asdict(self._exchange.figures),
            "steps_per_exchange": self.steps_per_exchange,
            "exchange_ms": 1e3 * float(np.median(self._exchange_s)) if self._exchange_s else 0.0,
            "lost": len(self._team.lost),
        }

    def history_note(self) -> str:
        """Tells the staleness in a sentence."""
        s = self.staleness
        return (
            f"Peers' snapshots were {s['mean_staleness']:.1f} steps old in the mean and "
            f"{s['max_staleness']} at most; {s['used']} were used, {s['dropped']} dropped for "
            f"newer ones, {s['failed']} not delivered. An exchange took {s['exchange_ms']:.1f} ms, "
            f"after every {s['steps_per_exchange']} steps in the end; members lost: {s['lost']}."
        )

    def train(self, iterator: Any, sizes: Sequence[int]) -> np.ndarray:
        """Trains on this member's share of each batch; see ``CompiledSteps.train``.

        The seconds of an exchange belong to the steps before it. A step whose share is empty is
        a row of zeros.
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
        """See ``CompiledSteps.profile``: peers learn nothing of it."""
        return self._on_share(super().train, iterator, sizes)

    def evaluate(self, iterator: Any, sizes: Sequence[int]) -> None:
        """Updates the metrics with this member's share; ``synchronize`` adds them up."""
        self._on_share(super().evaluate, iterator, sizes)

    def synchronize(self) -> None:
        """Gives all members the mean of their weights, and the chief the metrics of all.

        Every member calls it at the same point. The others' metrics start anew, so that nothing
        is counted twice.
        """
        metrics, weights = self._flat
        counted = metrics.read()
        moved = weights.read() if self._moved else np.empty(0, counted.dtype)
        total = self._team.total(np.concatenate([counted, moved, np.ones(1, counted.dtype)]))
        if self._team.is_chief:
            metrics.write(total[: counted.size])
        else:
            self.model.reset_metrics()
        if self._moved:
            weights.write(total[counted.size : -1] / total[-1])
            self._exchange.clear()
            self._moved = False

    @functools.cached_property
    def _flat(self) -> tuple[FlatVariables, FlatVariables]:
        """Metrics and weights; cached, because they exist only after ``build``."""
        return FlatVariables(self.model.metrics_variables), FlatVariables(self.model.weights)

    def _start(self) -> None:
        """Begins where the chief begins, also after a resume."""
        _, weights = self._flat
        weights.write(self._team.share(weights.read()))
        if not self._team.is_chief:
            self.model.reset_metrics()

    def _train_and_exchange(self, iterator: Any, sizes: Sequence[int]) -> np.ndarray:
        traces, begin = self.traces, time.perf_counter()
        rows = self._on_share(super().train, iterator, sizes)
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
        snapshots = self._exchange.take(self._step)
        if snapshots:
            own = mean(own, snapshots)
            weights.write(own)
        self._exchange.offer(self._step, own)
        self._moved = True

    def _on_share(self, run: Any, iterator: Any, sizes: Sequence[int]) -> np.ndarray:
        """Runs ``run(iterator, sizes)`` on this member's part of each batch, if it has one."""
        bounds = map(self._share.bounds, sizes)
        rows = [np.empty((0, COLUMNS))]
        for is_some, group in itertools.groupby((stop - start for start, stop in bounds), bool):
            part = list(group)
            if is_some:
                result = run(iterator, part)
            else:
                for _ in part:
                    next(iterator)
                result = np.zeros((len(part), COLUMNS))
            rows += [] if result is None else [result]
        return np.concatenate(rows)
