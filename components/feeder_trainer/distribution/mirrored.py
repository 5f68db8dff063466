"""Synchronous data parallelism with ``tf.distribute``: one machine, several machines, or a TPU."""

import contextlib
import functools
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.losses import loss as keras_loss

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import (
    ClusterTask,
    listen_on_loopback,
    restricted_server,
)
from tfx_feeder.components.feeder_trainer.distribution.context import DistributionContext
from tfx_feeder.components.feeder_trainer.distribution.data_parallel import (
    DataParallelSteps,
    check_updates,
    clips_gradients,
    innermost_optimizer,
)
from tfx_feeder.components.feeder_trainer.distribution.devices import open_devices
from tfx_feeder.components.feeder_trainer.distribution.options import TPU, Mirrored, Strategy
from tfx_feeder.components.feeder_trainer.feed.sharding import Shard
from tfx_feeder.components.feeder_trainer.model.state import layer_statistics
from tfx_feeder.components.feeder_trainer.training.gradient_accumulation import squared_norm
from tfx_feeder.components.feeder_trainer.training.model_calls import Adapter
from tfx_feeder.components.feeder_trainer.training.process_group import SingleProcess
from tfx_feeder.components.feeder_trainer.training.step_loop import (
    compiled,
    pack,
    repeated,
    unpack,
)
from tfx_feeder.components.feeder_trainer.training.train_step import (
    DEFAULT_STEP_OPTIONS,
    LOSS,
    StepOptions,
)

_COLLECTIVE_TIMEOUT_S = 300.0
"""Timeout of a collective operation; a worker may trace its graph while the others wait."""

_TPU_CONNECT_TIMEOUT_S = 10.0


def open_context(strategy: Strategy, task: ClusterTask | None) -> DistributionContext:
    """See ``context.open_context``.

    Args:
        strategy: Devices, cluster or TPU to train on.
        task: Task of this process in a cluster; ``None``: that of ``TF_CONFIG``, if needed.

    Raises:
        ConfigError: The machine has no such devices, or ``TF_CONFIG`` is not set.
    """
    spans_workers = strategy.name == "multi_worker"
    shard = Shard()
    with contextlib.ExitStack() as stack:
        if spans_workers:
            task = task or ClusterTask.required_from_env(os.environ)
            shard = Shard(task.rank, len(task.trainers))
            stack.enter_context(restricted_server(task))
        else:
            listen_on_loopback()
        distribution = _DISTRIBUTIONS[strategy.name](strategy)
    group = CollectiveGroup(distribution, shard) if spans_workers else SingleProcess()
    return DistributionContext(
        functools.partial(MirroredSteps, distribution, strategy.name, group, shard),
        scope=distribution.scope,
        process_group=group,
        shard=shard,
        replicas=distribution.num_replicas_in_sync,
    )


class CollectiveGroup:
    """Process group that communicates by the all-reduce of ``tf.distribute``; see ``ProcessGroup``.

    Args:
        distribution: Strategy over all workers.
        shard: Index of this worker among all workers.
    """

    def __init__(self, distribution: tf.distribute.Strategy, shard: Shard) -> None:
        self.is_chief = shard.index == 0
        self.size = shard.count
        self._distribution = distribution
        self._local_replicas = distribution.num_replicas_in_sync // shard.count
        self._sum = compiled(self._all_reduce)

    def broadcast(self, values: Sequence[float]) -> list[float]:
        """See ``ProcessGroup.broadcast``."""
        own = np.asarray(values, np.float64)
        return self.all_reduce_sum(own if self.is_chief else np.zeros_like(own)).tolist()

    def all_reduce_sum(self, array: np.ndarray) -> np.ndarray:
        """Returns the elementwise sum of the arrays of all workers, float64.

        Args:
            array: Array of this worker, of the same shape on all workers.
        """
        return self._sum(tf.constant(array, tf.float64)).numpy()

    def _all_reduce(self, tensor: tf.Tensor) -> tf.Tensor:
        def reduce_in_replica(part: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, part / self._local_replicas)

        totals = self._distribution.run(reduce_in_replica, args=(tensor,))
        return self._distribution.experimental_local_results(totals)[0]


class MirroredSteps(DataParallelSteps):
    """Compiled steps inside ``strategy.run``; see ``DataParallelSteps``.

    Args:
        distribution: TensorFlow strategy in whose scope the model was built.
        name: Name of the strategy in error messages.
        group: Process group of the workers.
        shard: Shard of the global batch that this worker receives.
        model: Compiled model.
        adapt: See ``CompiledSteps``.
        options: Options of the steps.

    Raises:
        ConfigError: See ``DataParallelSteps``; or the optimizer updates conditionally.
    """

    _sums_metrics = True

    def __init__(
        self,
        distribution: tf.distribute.Strategy,
        name: str,
        group: SingleProcess | CollectiveGroup,
        shard: Shard,
        model: keras.Model,
        adapt: Adapter,
        options: StepOptions = DEFAULT_STEP_OPTIONS,
    ) -> None:
        self._distribution = distribution
        self._group = group
        self._compute_only: Any = None
        replicas = distribution.num_replicas_in_sync
        super().__init__(name, replicas, shard, model, adapt, options)
        optimizer = innermost_optimizer(model.optimizer)
        check_updates(name, optimizer)
        _disable_loss_scaling_by_replicas()
        self._scales_loss = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        self._clips_gradients = clips_gradients(optimizer)
        for limit in ("clipnorm", "clipvalue", "global_clipnorm"):
            # Keras clips in each replica and sums afterwards. Each replica passes it an equal
            # fraction of the summed gradient (see _train_replica), so dividing the limits by the
            # number of replicas clips the sum at the limits that the user set.
            if getattr(optimizer, limit, None):
                setattr(optimizer, limit, getattr(optimizer, limit) / self.replicas)

    def train(self, iterator: Any, sizes: Sequence[int]) -> np.ndarray:
        """See ``CompiledSteps.train``."""
        rows = super().train(iterator, sizes)
        if isinstance(self._group, CollectiveGroup):
            rows[:, LOSS:] = self._group.all_reduce_sum(rows[:, LOSS:])
        return rows

    def synchronize(self) -> None:
        """Sets the statistics that each replica collects for itself to their mean.

        Keras does so neither for a validation, in which each replica would use its own moving
        averages of BatchNormalization, nor for the model that is saved: that of the first replica.
        """
        if self._local_statistics:
            self._average_statistics()

    @functools.cached_property
    def _local_statistics(self) -> list[keras.Variable]:
        return [
            variable
            for variable in layer_statistics(self.model)
            if getattr(variable, "aggregation", None) in (None, "none")
        ]

    @functools.cached_property
    def _average_statistics(self) -> Any:
        def average() -> None:
            context = tf.distribute.get_replica_context()
            is_first = tf.equal(context.replica_id_in_sync_group, 0)
            values = [tf.identity(variable.value) for variable in self._local_statistics]
            first = context.all_reduce(
                tf.distribute.ReduceOp.SUM,
                [tf.where(is_first, value, tf.zeros_like(value)) for value in values],
            )
            # The mean of equal values may differ from them by rounding; that of zeros does not.
            differences = [
                tf.where(tf.equal(value, base), tf.zeros_like(value), value - base)
                for value, base in zip(values, first, strict=True)
            ]
            means = context.all_reduce(tf.distribute.ReduceOp.MEAN, differences)
            for variable, base, mean in zip(self._local_statistics, first, means, strict=True):
                variable.assign(base + mean)

        return compiled(lambda: self._distribution.run(average))

    def compute_only_step_s(self, iterator: Any, sizes: Sequence[int]) -> float | None:
        """See ``CompiledSteps.compute_only_step_s``."""
        if self.model.run_eagerly:
            return None
        if self._compute_only is None:
            self._compute_only = compiled(self._compute_many)
            self._compute_only(iterator, pack(sizes[:1]))
        begin = time.perf_counter()
        self._compute_only(iterator, pack(sizes))
        return (time.perf_counter() - begin) / len(sizes)

    def _compute_many(self, iterator: Any, lengths: tf.Tensor) -> tf.Tensor:
        def compute(step: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor]:
            args = (next(iterator), unpack(lengths, step))
            norms = self._distribution.run(self._compute_replica, args=args)
            return (total + tf.add_n(self._distribution.experimental_local_results(norms)),)

        return repeated(lengths[0], compute, (tf.constant(0.0),))[0]

    def _compute_replica(self, batch: tuple, size: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        result = self._shard_gradients(batch, size, context.replica_id_in_sync_group)
        # The norm depends on all gradients; TensorFlow would prune those without a consumer.
        return squared_norm([value for value in result.values if value is not None])

    def _train_batch(self, batch: tuple, size: tf.Tensor) -> tuple[tf.Tensor, dict[str, Any]]:
        columns = self._distribution.run(self._train_replica, args=(batch, size))
        return tf.add_n(self._distribution.experimental_local_results(columns)), {}

    def _train_replica(self, batch: tuple, size: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        result = self._shard_gradients(batch, size, context.replica_id_in_sync_group)
        # A collective that gathers the sparse gradients of embeddings works for the batch size of
        # the first step only.
        values = [None if each is None else tf.convert_to_tensor(each) for each in result.values]
        batch_sq_norm, micro_batch_size = 0.0, 0.0
        if self._clips_gradients or self._noise_scale:
            present = [value for value in values if value is not None]
            summed = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, present))
            whole = [None if value is None else next(summed) for value in values]
            # The optimizer sums over the replicas once more.
            values = [None if value is None else value / self.replicas for value in whole]
            if self._noise_scale:
                norm = squared_norm([value for value in whole if value is not None])
                batch_sq_norm = norm / self.replicas
                micro_batch_size = self._micro_batch_size(size) / self.replicas
        if self._scales_loss:
            values = self._finite_on_all_replicas(values)
        self._apply_gradients(values)
        return tf.cast(
            tf.stack([result.loss, result.micro_sq_norm, batch_sq_norm, micro_batch_size]),
            tf.float64,
        )

    def _finite_on_all_replicas(self, gradients: list[Any]) -> list[Any]:
        """Returns the gradients, or NaN if those of any replica are not finite.

        A loss-scaling optimizer of Keras skips a step by the gradients of the first replica, or
        each replica by its own, which then waits for the others.
        """
        present = [each for each in gradients if each is not None]
        context = tf.distribute.get_replica_context()
        flags = [tf.constant(True), *(tf.reduce_all(tf.math.is_finite(each)) for each in present)]
        finite = tf.cast(tf.reduce_all(flags), tf.float32)
        count = context.all_reduce(tf.distribute.ReduceOp.SUM, finite)
        is_finite = tf.equal(count, self.replicas)
        return [
            None if each is None else tf.where(is_finite, each, tf.constant(np.nan, each.dtype))
            for each in gradients
        ]

    def _evaluate_batch(self, batch: tuple, size: tf.Tensor) -> dict[str, Any]:
        self._distribution.run(self._evaluate_in_replica, args=(batch, size))
        return {}

    def _in_replica(self, update: Callable[[tuple], None], batch: tuple) -> None:
        self._distribution.run(update, args=(batch,))

    def _evaluate_in_replica(self, batch: tuple, size: tf.Tensor) -> None:
        context = tf.distribute.get_replica_context()
        self._evaluate_replica(batch, size, context.replica_id_in_sync_group)


def _disable_loss_scaling_by_replicas() -> None:
    """Stops Keras, in this process, from dividing losses by the number of replicas.

    Keras divides only some of them: neither a loss function that returns a scalar nor the terms
    that a custom ``compute_loss`` adds. ``DataParallelSteps`` weights all of them alike.
    """
    for name in ("scale_loss_for_distribution", "unscale_loss_for_distribution"):
        # Another release of Keras may divide elsewhere: an AttributeError is better than a wrong
        # gradient.
        getattr(keras_loss, name)
        setattr(keras_loss, name, lambda value: value)


def _mirrored(strategy: Mirrored) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(open_devices(strategy.devices))


def _multi_worker(strategy: Any) -> tf.distribute.Strategy:
    del strategy
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=_COLLECTIVE_TIMEOUT_S)
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


def _tpu(strategy: TPU) -> tf.distribute.Strategy:
    try:
        if strategy.address.startswith("grpc://"):
            _check_reachable(strategy.address.removeprefix("grpc://"))
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


def _check_reachable(address: str) -> None:
    """Raises OSError if no server is listening; TensorFlow would wait indefinitely."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=_TPU_CONNECT_TIMEOUT_S).close()


_DISTRIBUTIONS: Mapping[str, Callable[[Any], tf.distribute.Strategy]] = {
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
    "tpu": _tpu,
}
