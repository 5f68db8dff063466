"""Asynchronous parameter servers: each worker applies its own gradient immediately."""

import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.options import STALENESS, corrected_momentum
from tfx_feeder.components.feeder_trainer.distribution.parameter_server.steps import (
    ParameterServerSteps,
    StepOutput,
)
from tfx_feeder.components.feeder_trainer.distribution.parameter_server.workers import WorkerPool
from tfx_feeder.components.feeder_trainer.training.model_calls import Adapter
from tfx_feeder.components.feeder_trainer.training.train_step import (
    COLUMNS,
    DEFAULT_STEP_OPTIONS,
    LOSS,
    STEP_S,
    WAIT_S,
    StepOptions,
)

_STEPS_PER_WORKER = 4
"""Asynchronous steps per worker in a call; at its end, all workers wait for the last."""


class AsynchronousSteps(ParameterServerSteps):
    """Sends whole batches to idle workers, each of which applies its own gradient.

    No call is pending when ``train`` returns, so the learning rate of a phase applies to exactly
    its own batches.

    Args:
        name: Name of the strategy in error messages.
        strategy: TensorFlow strategy that is connected to the cluster.
        workers: Pool of the workers.
        model: Compiled model.
        adapt: See ``CompiledSteps``.
        options: Options of the steps.
        corrects_momentum: If True, lower the momentum of the optimizer; see
            ``options.corrected_momentum``.

    Raises:
        ConfigError: The model or the options require steps that run one after another; or the
            optimizer has no momentum to correct.
    """

    def __init__(
        self,
        name: str,
        strategy: tf.distribute.Strategy,
        workers: WorkerPool,
        model: keras.Model,
        adapt: Adapter,
        options: StepOptions = DEFAULT_STEP_OPTIONS,
        *,
        corrects_momentum: bool = False,
    ) -> None:
        self._corrects_momentum = corrects_momentum
        self._steps = self._total_staleness = self._max_staleness = 0
        self.min_steps_per_call = _STEPS_PER_WORKER * workers.size
        with strategy.scope():
            self._applied = tf.Variable(tf.zeros([], tf.int64), trainable=False)
        super().__init__(name, strategy, workers, model, adapt, options)
        optimizer = model.optimizer
        unsupported = {
            "a schedule that uses the gradient noise scale": options.noise_scale,
            "max_micro_batch_size": options.max_micro_batch_size,
            "mixed_float16, whose loss scale changes from step to step": isinstance(
                optimizer, keras.optimizers.LossScaleOptimizer
            ),
        }
        for feature, is_requested in unsupported.items():
            if is_requested:
                raise self._unsupported(feature)
        if corrects_momentum and not getattr(optimizer, "momentum", 0.0):
            raise ConfigError(
                "strategy momentum",
                received=f"corrected, for {type(optimizer).__name__} without momentum",
                expected="an optimizer with momentum, such as SGD(momentum=0.9)",
                fix=f"Use lr_scaling={STALENESS!r}, which suits every optimizer.",
            )

    def build(self, batch: tuple) -> None:
        """See ``CompiledSteps.build``."""
        super().build(batch)
        if self._corrects_momentum:
            # After the optimizer has made its variables, which a momentum of 0 would omit.
            optimizer: Any = self.model.optimizer
            optimizer.momentum = corrected_momentum(optimizer.momentum, self._workers.size - 1)

    def halve_micro_batches(self, batch_size: int) -> int:
        """Raises an error: asynchronous steps cannot split a batch.

        Args:
            batch_size: Global batch size that did not fit into memory.

        Raises:
            ConfigError: Always.
        """
        raise self._unsupported(f"a batch of {batch_size}, too large for the memory of a worker")

    def _unsupported(self, feature: str) -> ConfigError:
        return ConfigError(
            "strategy",
            received=f"{self._strategy_name} with {feature}",
            expected="a synchronous strategy",
            fix="Use parameter_server_sync, which runs on the same cluster.",
        )

    @property
    def _divides_batches(self) -> bool:
        return False  # A worker takes a whole batch.

    @property
    def staleness(self) -> dict[str, float]:
        """Staleness of the gradients in updates by other workers: ``mean`` and ``max``."""
        return {
            "mean": self._total_staleness / max(1, self._steps),
            "max": self._max_staleness,
        }

    def history_note(self) -> str:
        """See ``CompiledSteps.history_note``."""
        stale = self.staleness
        return (
            f"Gradient staleness: mean {stale['mean']:.1f} updates, max {stale['max']:.0f}, with "
            f"{self._workers.size} workers."
        )

    def train(self, iterator: Any, sizes: Sequence[int]) -> np.ndarray:
        """See ``CompiledSteps.train``; all steps of a call get the same duration."""
        function, update_metrics = self._traced((self._train_fn, self._metrics_fn), iterator)
        iterations = self.model.optimizer.iterations
        done = int(np.asarray(iterations))
        rows = np.zeros((len(sizes), COLUMNS))
        batches: dict[int, tuple] = {}
        begin = time.perf_counter()

        def collect() -> None:
            step, (output, staleness) = self._workers.result()
            update_metrics(batches.pop(step), output, staleness)
            rows[step, LOSS] = output.loss
            self._total_staleness += int(staleness)
            self._max_staleness = max(self._max_staleness, int(staleness))

        for step in range(len(sizes)):
            requested_s = time.perf_counter()
            batches[step] = next(iterator)
            rows[step, WAIT_S] = time.perf_counter() - requested_s
            self._workers.submit(step, function, batches[step])
            if not self._workers.has_capacity:
                collect()
        while batches:
            collect()
        self._steps += len(sizes)
        # Concurrent increments by the workers may be lost.
        iterations.assign(done + len(sizes))
        elapsed = time.perf_counter() - begin
        rows[:, STEP_S] = (elapsed - rows[:, WAIT_S].sum()) / len(sizes)
        return rows

    def _compile(self) -> None:
        super()._compile()
        self._train_fn = self._compiled(self._train_on_worker)
        self._metrics_fn = self._compiled(self._update_trained_metrics)

    def _train_on_worker(self, batch: tuple) -> tuple[StepOutput, tf.Tensor]:
        model = self.model
        started = self._applied.read_value()
        with tf.control_dependencies([started]), tf.GradientTape() as tape:
            output, scaled, scope = self._forward(*self._unpack_weighted(batch), training=True)
        gradients = tape.gradient(scaled, model.trainable_weights)
        for variable in model.non_trainable_variables:
            value = scope.get_current_value(variable)
            if value is not None:
                variable.assign(value)
        self._apply_gradients(gradients)
        with tf.control_dependencies([g for g in gradients if g is not None]):
            applied = self._applied.assign_add(1, read_value=True)
        return output, applied - 1 - started

    def _update_trained_metrics(
        self, batch: tuple, output: StepOutput, staleness: tf.Tensor
    ) -> None:
        del staleness
        x, y, weight = self._unpack_weighted(batch)
        self._update_from_output(x, y, weight, output)
