"""Synchronous parameter servers: the workers' gradients are summed and applied once."""

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.distribution.parameter_server.packing import pack, unpack
from tfx_feeder.components.feeder_trainer.distribution.parameter_server.steps import (
    ParameterServerSteps,
    StepOutput,
)
from tfx_feeder.components.feeder_trainer.distribution.parameter_server.workers import WorkerPool
from tfx_feeder.components.feeder_trainer.feed.rows import take_rows
from tfx_feeder.components.feeder_trainer.feed.sharding import Shard
from tfx_feeder.components.feeder_trainer.training.loss_division import check_loss_reductions
from tfx_feeder.components.feeder_trainer.training.model_calls import Adapter
from tfx_feeder.components.feeder_trainer.training.train_step import (
    BATCH_SQ_NORM,
    COLUMNS,
    DEFAULT_STEP_OPTIONS,
    LOSS,
    MICRO_BATCH_SIZE,
    MICRO_SQ_NORM,
    STEP_S,
    WAIT_S,
    StepOptions,
)


class ShardSums(NamedTuple):
    """Results of a worker for a shard that are weighted by its size and summed over the shards.

    Args:
        loss: Loss, float32 ``[]``.
        counter_updates: Increments of the metrics' variables that computing the loss caused.
        gradients: Gradients of the trainable weights that the loss depends on.
        states: New values of the model's other variables, such as moving averages.
        grad_sq_norm: Squared norm of all gradients, float32 ``[]``, not weighted; 0 without noise
            scale.
    """

    loss: Any
    counter_updates: list[Any]
    gradients: list[Any]
    states: list[Any]
    grad_sq_norm: Any


class SynchronousSteps(ParameterServerSteps):
    """Sends a shard of each batch to each worker and applies the sum of their gradients once.

    With micro-batches or the noise scale, a batch is split into more shards.

    Args:
        name: Name of the strategy in error messages.
        strategy: TensorFlow strategy that is connected to the cluster.
        workers: Pool of the workers.
        model: Compiled model.
        adapt: See ``CompiledSteps``.
        options: Options of the steps.

    Raises:
        ConfigError: The model has a loss that is not a mean over examples.
    """

    def __init__(
        self,
        name: str,
        strategy: tf.distribute.Strategy,
        workers: WorkerPool,
        model: keras.Model,
        adapt: Adapter,
        options: StepOptions = DEFAULT_STEP_OPTIONS,
    ) -> None:
        self.replicas = workers.size
        super().__init__(name, strategy, workers, model, adapt, options)
        check_loss_reductions(self._division, model)

    def train(self, iterator: Any, sizes: Sequence[int]) -> np.ndarray:
        """See ``CompiledSteps.train``."""
        fraction = tf.TensorSpec([], tf.float32)
        function, update_metrics = self._traced(
            (self._train_fn, self._metrics_fn), iterator, fraction
        )
        rows = np.zeros((len(sizes), COLUMNS))
        trained: tuple[Any, ...] = ()
        for row, size in zip(rows, sizes, strict=True):
            begin = time.perf_counter()
            batch = next(iterator)
            fed = time.perf_counter()
            bounds = self._shard_bounds(size)
            for index, (start, stop) in enumerate(bounds):
                shard = take_rows(batch, start, stop)
                self._workers.submit(index, function, shard, tf.constant((stop - start) / size))
            if trained:
                try:
                    # Those of the last step, while the workers compute this one.
                    update_metrics(*trained)
                except Exception:
                    self._workers.discard_pending()
                    raise
            results = dict(self._workers.result() for _ in bounds)
            predictions, sums = _combined([results[index] for index in range(len(bounds))])
            row[LOSS], row[BATCH_SQ_NORM], sq_norms = self._apply(sums)
            row[MICRO_SQ_NORM] = sq_norms / len(bounds)
            trained = batch, predictions, sums
            lengths = {stop - start for start, stop in bounds}
            if self._noise_scale and len(bounds) > 1 and len(lengths) == 1:
                row[MICRO_BATCH_SIZE] = lengths.pop()
            row[WAIT_S], row[STEP_S] = fed - begin, time.perf_counter() - fed
        begin = time.perf_counter()
        update_metrics(*trained)
        rows[-1, STEP_S] += time.perf_counter() - begin
        return rows

    def _apply(self, sums: list[tf.Tensor]) -> tuple[tf.Tensor, ...]:
        with self._strategy.scope():
            return self._update_fn(sums)

    def _shard_bounds(self, size: int) -> list[tuple[int, int]]:
        """Returns the first row and the end of each shard of a batch."""
        count = max(self._workers.size, 2 if self._noise_scale else 1)
        if self.max_micro_batch_size:
            count = max(count, math.ceil(size / self.max_micro_batch_size))
        bounds = [Shard(index, count).bounds(size) for index in range(count)]
        return [(start, stop) for start, stop in bounds if stop > start]

    def _compile(self) -> None:
        super()._compile()
        self._train_fn = self._compiled(self._train_on_worker)
        self._metrics_fn = self._compiled(self._update_trained_metrics)
        self._update_fn = self._compiled(self._apply_update)

    def _train_on_worker(self, batch: tuple, fraction: tf.Tensor) -> tuple[Any, list[tf.Tensor]]:
        """Returns the predictions and the packed ``ShardSums`` of a shard."""
        model = self.model
        with tf.GradientTape() as tape:
            output, scaled, scope = self._forward(*self._unpack_weighted(batch), training=True)
        gradients = tape.gradient(scaled, model.trainable_weights)
        # Set while tracing, before any worker returns a result.
        self._has_gradient = [gradient is not None for gradient in gradients]
        gradients = [
            tf.ensure_shape(tf.convert_to_tensor(gradient), weight.shape)
            for gradient, weight in zip(gradients, model.trainable_weights, strict=True)
            if gradient is not None
        ]
        states = [(v, scope.get_current_value(v)) for v in model.non_trainable_variables]
        states = [(v, value) for v, value in states if value is not None]
        self._state_variables = [v for v, _ in states]
        grad_sq_norm = tf.square(tf.linalg.global_norm(gradients)) if self._noise_scale else 0.0

        def weighted(value: tf.Tensor) -> tf.Tensor:
            return value * tf.cast(fraction, value.dtype) if value.dtype.is_floating else value

        sums = ShardSums(
            weighted(output.loss),
            [
                weighted(tf.ensure_shape(value, v.shape))
                for v, value in zip(self._counters, output.counter_updates, strict=True)
            ],
            [weighted(gradient) for gradient in gradients],
            [weighted(tf.ensure_shape(value, v.shape)) for v, value in states],
            tf.cast(grad_sq_norm, tf.float32),
        )
        self._sums = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), sums)
        return output.predictions, pack(sums)

    def _apply_update(self, sums: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Applies the gradients; returns the loss and the squared norms, of the sum and summed."""
        update: ShardSums = unpack(sums, self._sums)
        sq_norm = tf.square(tf.linalg.global_norm(update.gradients)) if self._noise_scale else 0.0
        present = iter(update.gradients)
        self._apply_gradients([next(present) if each else None for each in self._has_gradient])
        for variable, value in zip(self._state_variables, update.states, strict=True):
            variable.assign(value)
        return update.loss, tf.cast(sq_norm, tf.float32), update.grad_sq_norm

    def _update_trained_metrics(
        self, batch: tuple, predictions: Any, sums: list[tf.Tensor]
    ) -> None:
        update: ShardSums = unpack(sums, self._sums)
        x, y, weight = self._unpack_weighted(batch)
        output = StepOutput(update.loss, predictions, update.counter_updates)
        self._update_from_output(x, y, weight, output)


def _combined(results: Sequence[tuple[Any, list[tf.Tensor]]]) -> tuple[Any, list[tf.Tensor]]:
    """Returns the predictions and the sums of all shards of a batch."""
    predictions, sums = zip(*results, strict=True)
    return (
        tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *predictions),
        [
            # Integers are counters, which advance equally in every shard.
            tf.add_n(parts) if parts[0].dtype.is_floating else parts[0]
            for parts in zip(*sums, strict=True)
        ],
    )
