"""Steps whose batch is shared out among replicas, each of which sees a part."""

import threading
from typing import Any

import keras
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.sharding import Shard
from tfx_feeder.components.feeder_trainer.training.gradient_accumulation import (
    AccumulatedGradients,
    accumulate,
    squared_norm,
)
from tfx_feeder.components.feeder_trainer.training.train_step import (
    DEFAULT_STEP_OPTIONS,
    Adapter,
    CompiledSteps,
    StepOptions,
)

_MEANS = ("sum_over_batch_size", "mean")
"""Reductions of losses that are means over examples."""


class DataParallelSteps(CompiledSteps):
    """What all synchronous replicas have in common; see ``CompiledSteps``.

    A replica's gradient counts by its part of the global batch, so that the sum is the gradient of
    the mean over the whole batch, remainders included. Where replicas outnumber the examples, the
    rest of them compute on an example that counts nothing: all have to take part.

    Args:
        strategy: Name, for errors.
        replicas: Parts of a global batch.
        share: Part of the global batch that this process gets; it holds several replicas' parts.
        model: See ``CompiledSteps``, also for the other arguments.

    Raises:
        ConfigError: The model has a step of its own, which knows nothing of parts, or a loss that
            is no mean over examples.
    """

    def __init__(
        self,
        strategy: str,
        replicas: int,
        share: Shard,
        model: keras.Model,
        adapt: Adapter,
        options: StepOptions = DEFAULT_STEP_OPTIONS,
    ) -> None:
        self.replicas = replicas
        self._share = share
        # Replicas are traced in threads of their own, and take turns.
        self._part = threading.local()
        super().__init__(model, adapt, options)
        if self._own_train_step or self._own_test_step:
            raise ConfigError(
                "strategy",
                received=f"{strategy}, for a model with a train_step or test_step of its own",
                expected="a model without one, because such a step takes the whole batch",
                fix="Override compute_loss and compute_metrics instead, or train sequentially.",
            )
        check_losses(strategy, self.model)

    def halve_micro_batches(self, batch_size: int) -> int:
        """See ``CompiledSteps.halve_micro_batches``; the limit is that of one replica."""
        return super().halve_micro_batches(-(-batch_size // self.replicas))

    def build(self, batch: tuple) -> None:
        """See ``CompiledSteps.build``."""
        first = tf.nest.map_structure(lambda tensor: tensor[:1], batch)
        self._evaluate_part(first)
        self.model.optimizer.build(self.model.trainable_variables)
        self.model.reset_metrics()

    def _gradients_of_part(
        self, batch: tuple, size: tf.Tensor, replica: Any
    ) -> AccumulatedGradients:
        """Computes what one replica adds to the gradient, the loss and the noise figures.

        Args:
            batch: Of this process.
            size: Examples in the global batch, int32 ``[]``.
            replica: Index among all replicas.
        """
        part, share = self._cut(batch, size, replica)
        x, y, weight = self._unpack(part)
        weight = self._with_class_weight(y, weight)
        if self.max_micro_batch_size:
            result = accumulate(
                self._gradients,
                (x, y, weight),
                self.model.trainable_weights,
                limit=self.max_micro_batch_size,
                at_least_two=False,
            )
        else:
            result = self._gradients(x, y, weight)
        micro_sq_norm = 0.0
        if self._noise_scale:
            values = [value for value in result.values if value is not None]
            micro_sq_norm = squared_norm(values) / self.replicas
        return AccumulatedGradients(
            [None if value is None else _scaled(value, share) for value in result.values],
            tf.math.multiply_no_nan(result.loss, share),
            micro_sq_norm=micro_sq_norm,
        )

    def _evaluate_replica(self, batch: tuple, size: tf.Tensor, replica: Any) -> None:
        part, _ = self._cut(batch, size, replica)
        self._evaluate_part(part)

    def _evaluate_part(self, part: tuple) -> None:
        super()._evaluate_batch(part, tf.constant(1))

    def _micro_batch_size(self, size: tf.Tensor) -> tf.Tensor:
        """Returns the examples of each replica; 0 where they are not equal, float32 ``[]``."""
        equal = tf.equal(size % self.replicas, 0)
        return tf.cast(tf.where(equal, size // self.replicas, 0), tf.float32)

    def _cut(self, batch: tuple, size: tf.Tensor, replica: Any) -> tuple[tuple, tf.Tensor]:
        """Returns a replica's part of the batch, and its share of the whole, float32 ``[]``."""
        offset, end = self._share.bounds(size)
        start, stop = Shard(replica, self.replicas).bounds(size)
        count = stop - start
        self._part.counts = count > 0
        # An example that counts nothing: a neighbour's, or zeros where there is none.
        first = tf.maximum(tf.minimum(start, end - 1) - offset, 0)
        last = tf.maximum(stop - offset, first + 1)
        # Cut on the processor, or every device would be sent the whole batch.
        with tf.device("CPU:0"):
            if self._share.count > 1:
                batch = tf.nest.map_structure(_at_least_one, batch)
            part = tf.nest.map_structure(lambda tensor: tensor[first:last], batch)
        return part, tf.cast(count / size, tf.float32)

    def _update_metrics(self, x: Any, y: Any, y_pred: Any, weight: Any, loss: tf.Tensor) -> None:
        counts = getattr(self._part, "counts", None)
        if counts is None:
            super()._update_metrics(x, y, y_pred, weight, loss)
            return

        def update() -> tf.Tensor:
            super(DataParallelSteps, self)._update_metrics(x, y, y_pred, weight, loss)
            return tf.constant(0)

        tf.cond(counts, update, lambda: tf.constant(0))


def _at_least_one(tensor: Any) -> Any:
    return tf.cond(
        tf.shape(tensor)[0] > 0,
        lambda: tensor,
        lambda: tf.zeros([1, *tensor.shape[1:]], tensor.dtype),
    )


def _scaled(gradient: Any, factor: tf.Tensor) -> Any:
    # What an example of zeros comes to may be no number, and counts nothing all the same.
    factor = tf.cast(factor, gradient.dtype)
    if isinstance(gradient, tf.IndexedSlices):
        values = tf.math.multiply_no_nan(gradient.values, factor)
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return tf.math.multiply_no_nan(gradient, factor)


def check_losses(strategy: str, model: keras.Model) -> None:
    reductions = {getattr(loss, "reduction", _MEANS[0]) for loss in tf.nest.flatten(model.loss)}
    if others := sorted(str(each) for each in reductions - set(_MEANS)):
        raise ConfigError(
            "strategy",
            received=f"{strategy}, for a loss with the reduction {', '.join(others)}",
            expected="a loss that is a mean over the examples, because each replica has some",
            fix=f"Compile it with reduction={_MEANS[0]!r}, or train sequentially.",
        )


def innermost(optimizer: Any) -> keras.Optimizer:
    """Returns the optimizer that updates weights, without what scales the loss around it."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def clips(optimizer: keras.Optimizer) -> bool:
    """Says whether an optimizer clips gradients."""
    return any(
        getattr(optimizer, name, None) for name in ("clipnorm", "clipvalue", "global_clipnorm")
    )
