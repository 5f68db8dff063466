"""Synchronous replicas by ``tf.distribute``: on one machine, over several, or on a TPU."""

import functools
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.losses import loss as keras_loss

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import VARIABLE, ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.context import DistributionContext
from tfx_feeder.components.feeder_trainer.distribution.data_parallel import (
    DataParallelSteps,
    clips,
    innermost,
)
from tfx_feeder.components.feeder_trainer.distribution.devices import open_devices
from tfx_feeder.components.feeder_trainer.distribution.options import TPU, Mirrored, Strategy
from tfx_feeder.components.feeder_trainer.feed.sharding import Shard
from tfx_feeder.components.feeder_trainer.training.gradient_accumulation import squared_norm
from tfx_feeder.components.feeder_trainer.training.process_group import SingleProcess
from tfx_feeder.components.feeder_trainer.training.train_step import (
    DEFAULT_STEP_OPTIONS,
    LOSS,
    Adapter,
    StepOptions,
    pack,
    unpack,
)

_TIMEOUT_S = 300.0
"""Longest silence in an exchange; a member may trace its graph while the others wait."""

_REACH_S = 10.0
"""How long to wait for a TPU to answer."""


def open_context(strategy: Strategy, task: ClusterTask | None) -> DistributionContext:
    """See ``context.open_context``."""
    distribution = _DISTRIBUTIONS[strategy.name](strategy, task)
    team, share = SingleProcess(), Shard()
    if strategy.name == "multi_worker":
        assert task is not None
        share = Shard(task.position, len(task.members))
        team = CollectiveGroup(distribution, share)
    replicas = distribution.num_replicas_in_sync
    return DistributionContext(
        functools.partial(MirroredSteps, distribution, strategy.name, team, share),
        scope=distribution.scope,
        team=team,
        share=share,
        replicas=replicas,
    )


class CollectiveGroup:
    """Workers that agree by the same all-reduce that adds up gradients; see ``Team``.

    Args:
        distribution: Over all workers.
        share: Which of them this one is.
    """

    def __init__(self, distribution: tf.distribute.Strategy, share: Shard) -> None:
        self.is_chief = share.index == 0
        self.size = share.count
        self._distribution = distribution
        self._local = distribution.num_replicas_in_sync // share.count
        self._sum = tf.function(self._all_reduce, reduce_retracing=True)

    def broadcast(self, values: Sequence[float]) -> list[float]:
        """See ``Team``."""
        mine = np.asarray(values, np.float64)
        return self.total(mine if self.is_chief else np.zeros_like(mine)).tolist()

    def total(self, array: np.ndarray) -> np.ndarray:
        """Returns the sum of all members' arrays, float64; they are equally large."""
        return self._sum(tf.constant(array, tf.float64)).numpy()

    def _all_reduce(self, tensor: tf.Tensor) -> tf.Tensor:
        def add_up(part: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, part / self._local)

        totals = self._distribution.run(add_up, args=(tensor,))
        return self._distribution.experimental_local_results(totals)[0]


class MirroredSteps(DataParallelSteps):
    """Steps inside ``strategy.run``; see ``DataParallelSteps``.

    Args:
        distribution: The strategy of TensorFlow in whose scope the model was made.
        name: Of the strategy, for errors.
        team: The workers.
        share: Part of the global batch that this worker gets.
        model: See ``CompiledSteps``, also for the other arguments.
    """

    def __init__(
        self,
        distribution: tf.distribute.Strategy,
        name: str,
        team: SingleProcess | CollectiveGroup,
        share: Shard,
        model: keras.Model,
        adapt: Adapter,
        options: StepOptions = DEFAULT_STEP_OPTIONS,
    ) -> None:
        self._distribution = distribution
        self._team = team
        self._alone: Any = None
        replicas = distribution.num_replicas_in_sync
        super().__init__(name, replicas, share, model, adapt, options)
        optimizer = innermost(self.model.optimizer)
        _check_optimizer(name, optimizer)
        _leave_losses_whole()
        self._clips = clips(optimizer)
        for limit in ("clipnorm", "clipvalue", "global_clipnorm"):
            # Keras clips in each replica and adds up after. It is given equal parts of the whole
            # gradient (see below), for which these limits come to the ones that the user set.
            if getattr(optimizer, limit, None):
                setattr(optimizer, limit, getattr(optimizer, limit) / self.replicas)

    def train(self, iterator: Any, sizes: Sequence[int]) -> np.ndarray:
        """See ``CompiledSteps.train``."""
        rows = super().train(iterator, sizes)
        if isinstance(self._team, CollectiveGroup):
            rows[:, LOSS:] = self._team.total(rows[:, LOSS:])
        return rows

    def compute_only_step_s(self, iterator: Any, sizes: Sequence[int]) -> float | None:
        """See ``CompiledSteps.compute_only_step_s``."""
        if self._alone is None:
            self._alone = tf.function(self._compute_many, reduce_retracing=True)
            self._alone(iterator, pack(sizes[:1]))
        begin = time.perf_counter()
        self._alone(iterator, pack(sizes))
        return (time.perf_counter() - begin) / len(sizes)

    def _compute_many(self, iterator: Any, lengths: tf.Tensor) -> tf.Tensor:
        total = tf.constant(0.0)
        for step in tf.range(lengths[0]):
            args = (next(iterator), unpack(lengths, step))
            squares = self._distribution.run(self._compute_replica, args=args)
            total += tf.add_n(self._distribution.experimental_local_results(squares))
        return total

    def _compute_replica(self, batch: tuple, size: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        result = self._gradients_of_part(batch, size, context.replica_id_in_sync_group)
        # All of them are used, or TensorFlow would leave out computing them.
        return squared_norm([value for value in result.values if value is not None])

    def _train_batch(self, batch: tuple, size: tf.Tensor) -> tf.Tensor:
        figures = self._distribution.run(self._train_replica, args=(batch, size))
        return tf.add_n(self._distribution.experimental_local_results(figures))

    def _train_replica(self, batch: tuple, size: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        result = self._gradients_of_part(batch, size, context.replica_id_in_sync_group)
        values, big, micro_batch_size = result.values, 0.0, 0.0
        if self._clips or self._noise_scale:
            present = [value for value in values if value is not None]
            summed = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, present))
            whole = [None if value is None else next(summed) for value in values]
            # The optimizer adds up once more.
            values = [None if value is None else value / self.replicas for value in whole]
            if self._noise_scale:
                big = squared_norm([value for value in whole if value is not None]) / self.replicas
                micro_batch_size = self._micro_batch_size(size) / self.replicas
        weights = self.model.trainable_weights
        self.model.optimizer.apply_gradients(zip(values, weights, strict=True))
        return tf.cast(
            tf.stack([result.loss, result.micro_sq_norm, big, micro_batch_size]), tf.float64
        )

    def _evaluate_batch(self, batch: tuple, size: tf.Tensor) -> None:
        self._distribution.run(self._evaluate_in_replica, args=(batch, size))

    def _evaluate_in_replica(self, batch: tuple, size: tf.Tensor) -> None:
        context = tf.distribute.get_replica_context()
        self._evaluate_replica(batch, size, context.replica_id_in_sync_group)


def _leave_losses_whole() -> None:
    """Keeps Keras, in this process, from dividing losses by the number of replicas.

    It divides only some of them: not a loss function that returns a scalar, nor what the model's
    own compute_loss adds. ``DataParallelSteps`` weighs all of them alike.
    """
    for name in ("scale_loss_for_distribution", "unscale_loss_for_distribution"):
        getattr(keras_loss, name)  # Another Keras may do it elsewhere: better fail than be wrong.
        setattr(keras_loss, name, lambda value: value)


def _check_optimizer(strategy: str, optimizer: keras.Optimizer) -> None:
    # Keras updates under a condition for these, where replicas cannot exchange anything.
    conditional = {
        "gradient_accumulation_steps": "Say Loop(max_micro_batch_size=...) for large batches.",
        "ema_overwrite_frequency": "Leave it out: the averages are the result all the same.",
    }
    for name, fix in conditional.items():
        if value := getattr(optimizer, name, None):
            raise ConfigError(
                "strategy",
                received=f"{strategy}, for an optimizer with {name}={value}",
                expected=f"an optimizer without {name}",
                fix=fix,
            )


def _mirrored(strategy: Mirrored, task: ClusterTask | None) -> tf.distribute.Strategy:
    del task
    return tf.distribute.MirroredStrategy(open_devices(strategy.devices))


def _multi_worker(strategy: Strategy, task: ClusterTask | None) -> tf.distribute.Strategy:
    del strategy
    if task is None:
        raise ConfigError(
            VARIABLE,
            received=None,
            expected="the addresses of a cluster and this process's task in it",
            fix="Let the orchestrator set it, or say cluster='local:2'.",
        )
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=_TIMEOUT_S)
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


def _tpu(strategy: TPU, task: ClusterTask | None) -> tf.distribute.Strategy:
    del task
    try:
        if strategy.address.startswith("grpc://"):
            _reach(strategy.address.removeprefix("grpc://"))
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(strategy.address)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        raise ConfigError(
            "strategy",
            received=f"tpu, address {strategy.address!r}",
            expected="a TPU",
            fix=f"TensorFlow found none: {str(error).splitlines()[0]}",
        ) from error


def _reach(address: str) -> None:
    """Raises an error where nobody listens: TensorFlow would wait without end."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=_REACH_S).close()


_DISTRIBUTIONS: Mapping[str, Callable[[Any, ClusterTask | None], tf.distribute.Strategy]] = {
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
    "tpu": _tpu,
}
