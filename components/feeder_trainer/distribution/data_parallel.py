"""Synchronous data parallelism: steps that split each global batch across replicas."""

import threading
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.rows import (
    at_least_one_row,
    count_rows,
    take_rows,
)
from tfx_feeder.components.feeder_trainer.feed.sharding import Shard
from tfx_feeder.components.feeder_trainer.training.gradient_accumulation import (
    AccumulatedGradients,
    accumulate,
    squared_norm,
)
from tfx_feeder.components.feeder_trainer.training.loss_division import check_loss_reductions
from tfx_feeder.components.feeder_trainer.training.model_calls import Adapter
from tfx_feeder.components.feeder_trainer.training.train_step import (
    DEFAULT_STEP_OPTIONS,
    CompiledSteps,
    StepOptions,
)


class DataParallelSteps(CompiledSteps):
    """Base class of the steps with synchronous replicas; see ``CompiledSteps``.

    A replica's gradient is weighted by its fraction of the global batch, so the sum over the
    replicas is the gradient of the mean over the whole batch, remainders included. If replicas
    outnumber the examples, the surplus replicas compute on an example of weight zero, because all
    replicas have to take part in collective operations.

    Args:
        strategy: Name of the strategy in error messages.
        replicas: Number of replicas that split a global batch.
        shard: Shard of the global batch that this process receives; it covers the shards of its
            replicas.
        model: Compiled model.
        adapt: See ``CompiledSteps``.
        options: Options of the steps.

    Raises:
        ConfigError: The model overrides ``train_step`` or ``test_step``, which take a whole batch,
            or has a loss that is not a mean over examples.
    """

    _weights_masked_targets = False

    def __init__(
        self,
        strategy: str,
        replicas: int,
        shard: Shard,
        model: keras.Model,
        adapt: Adapter,
        options: StepOptions = DEFAULT_STEP_OPTIONS,
    ) -> None:
        self.replicas = replicas
        self._strategy_name = strategy
        self._shard = shard
        # tf.distribute traces each replica in a thread of its own, one at a time.
        self._traced_shard = threading.local()
        super().__init__(model, adapt, options)
        if self._calls.own_train_step or self._calls.own_test_step:
            raise ConfigError(
                "strategy",
                received=f"{strategy}, for a model with a custom train_step or test_step",
                expected="a model without a custom step, because such a step takes the whole batch",
                fix="Override compute_loss and compute_metrics instead, or use one device.",
            )
        check_loss_reductions(self._division, model)

    def halve_micro_batches(self, batch_size: int) -> int:
        """See ``CompiledSteps.halve_micro_batches``; the limit applies to one replica."""
        return super().halve_micro_batches(-(-batch_size // self.replicas))

    def _shard_gradients(self, batch: tuple, size: tf.Tensor, replica: Any) -> AccumulatedGradients:
        """Returns one replica's summand of the gradient, the loss and the micro-batch norm.

        Args:
            batch: Batch of this process.
            size: Number of examples in the global batch, int32 ``[]``.
            replica: Index among all replicas.
        """
        shard, weight_of_shard = self._cut(batch, size, replica)
        x, y, weight = self._calls.unpack(shard)
        weight = self._with_class_weight(y, weight)
        if self.max_micro_batch_size:
            result = accumulate(
                lambda x, y, weight, fraction: self._gradients(
                    x, y, weight, fraction * weight_of_shard
                ),
                (x, y, weight),
                self.model.trainable_weights,
                limit=self.max_micro_batch_size,
                at_least_two=False,
            )
        else:
            result = self._gradients(x, y, weight, weight_of_shard)
        self._update_loss(result.loss, count_rows(x))
        micro_sq_norm = 0.0
        if self._noise_scale:
            values = [value for value in result.values if value is not None]
            micro_sq_norm = squared_norm(values) / self.replicas
        return AccumulatedGradients(
            [None if value is None else _scaled(value, weight_of_shard) for value in result.values],
            tf.math.multiply_no_nan(result.loss, weight_of_shard),
            micro_sq_norm=micro_sq_norm,
        )

    def _evaluate_replica(self, batch: tuple, size: tf.Tensor, replica: Any) -> None:
        shard, weight_of_shard = self._cut(batch, size, replica)
        self._evaluate_examples(shard, weight_of_shard)

    def _micro_batch_size(self, size: tf.Tensor) -> tf.Tensor:
        """Returns the examples per replica, or 0 if the shards differ in size, float32 ``[]``."""
        equal = tf.equal(size % self.replicas, 0)
        return tf.cast(tf.where(equal, size // self.replicas, 0), tf.float32)

    def _cut(self, batch: tuple, size: tf.Tensor, replica: Any) -> tuple[tuple, tf.Tensor]:
        """Returns a replica's shard of the batch, and its weight in the whole, float32 ``[]``."""
        rows, local = count_rows(batch), self.replicas // self._shard.count
        start, stop = Shard(replica - self._shard.index * local, local).bounds(rows)
        count = stop - start
        self._traced_shard.has_examples = count > 0
        # A replica without examples takes a neighbor's, or a known one, with weight zero: zeros may
        # be no valid example, and would reach moving averages.
        first = tf.maximum(tf.minimum(start, rows - 1), 0)
        last = tf.maximum(stop, first + 1)
        # Slice on the CPU: otherwise every device would receive the whole batch.
        with tf.device("CPU:0"):
            if self._shard.count > 1:
                batch = at_least_one_row(batch, self._example)
            shard = take_rows(batch, first, last)
        return shard, tf.cast(count / size, tf.float32)

    def _update_loss(self, loss: tf.Tensor, count: tf.Tensor) -> None:
        self._if_has_examples(lambda: super(DataParallelSteps, self)._update_loss(loss, count))

    def _update_metrics(self, x: Any, y: Any, y_pred: Any, weight: Any) -> dict[str, Any]:
        update = super()._update_metrics
        if getattr(self._traced_shard, "has_examples", None) is None:
            return update(x, y, y_pred, weight)  # The logs of the first example are checked.
        self._if_has_examples(lambda: update(x, y, y_pred, weight))
        return {}

    def _if_has_examples(self, update: Callable[[], Any]) -> None:
        """Updates metrics, but not with the example of weight zero of a surplus replica."""
        has_examples = getattr(self._traced_shard, "has_examples", None)
        if has_examples is None:
            update()
            return

        def updated() -> tf.Tensor:
            update()
            return tf.constant(0)

        tf.cond(has_examples, updated, lambda: tf.constant(0))


def _scaled(gradient: Any, factor: tf.Tensor) -> Any:
    # The gradient of an all-zero example may be NaN, which a factor of zero has to remove.
    factor = tf.cast(factor, gradient.dtype)
    if isinstance(gradient, tf.IndexedSlices):
        values = tf.math.multiply_no_nan(gradient.values, factor)
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return tf.math.multiply_no_nan(gradient, factor)


def innermost_optimizer(optimizer: Any) -> keras.Optimizer:
    """Returns the optimizer that updates the weights, without a loss-scaling wrapper."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def clips_gradients(optimizer: keras.Optimizer) -> bool:
    """Returns True if the optimizer clips gradients."""
    return any(
        getattr(optimizer, name, None) for name in ("clipnorm", "clipvalue", "global_clipnorm")
    )


def check_updates(strategy: str, optimizer: keras.Optimizer) -> None:
    """Checks that the optimizer updates unconditionally.

    Otherwise Keras updates inside a condition, in which replicas cannot communicate.

    Args:
        strategy: Name of the strategy in error messages.
        optimizer: Optimizer that updates the weights.

    Raises:
        ConfigError: The optimizer has an option that skips updates.
    """
    conditional = {
        "gradient_accumulation_steps": "Set max_micro_batch_size in TrainingOptions for large "
        "batches.",
        "ema_overwrite_frequency": "Drop it: the result holds the averages in any case.",
    }
    for name, fix in conditional.items():
        if value := getattr(optimizer, name, None):
            raise ConfigError(
                "strategy",
                received=f"{strategy}, for an optimizer with {name}={value}",
                expected=f"an optimizer without {name}",
                fix=fix,
            )
