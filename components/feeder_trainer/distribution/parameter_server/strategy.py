"""Parameter servers: servers hold the variables, workers compute gradients, a coordinator directs.

The coordinator runs the ordinary training loop and reads batches from the ordinary feed, in the
same order as single-device training; it ships each batch to a worker with the call.

Asynchronous: a whole batch goes to the next idle worker, which applies its gradient to the servers'
variables immediately (Dean et al., NeurIPS 2012, "Large Scale Distributed Deep Networks"; Li et
al., OSDI 2014, "Scaling Distributed Machine Learning with the Parameter Server"). Updates that
other workers applied in the meantime make the gradient stale. Synchronous: each worker receives a
shard of the batch; the coordinator waits for all of them, sums the gradients and applies the sum,
which gives the result of single-device training.

If a worker dies, its call is rescheduled; the worker rejoins when it is reachable again. Every
example is trained on at least once: an asynchronous call is repeated if its worker died after it
applied its gradient and before it reported so. A synchronous gradient is applied exactly once. If
no worker is left, or a parameter server is lost, the run ends and resumes from its checkpoint.
"""

import functools
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import VARIABLE, ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.context import DistributionContext
from tfx_feeder.components.feeder_trainer.distribution.options import (
    STALENESS,
    ParameterServer,
    Strategy,
    corrected_momentum,
)
from tfx_feeder.components.feeder_trainer.distribution.parameter_server.steps import (
    ParameterServerSteps,
    StepOutput,
)
from tfx_feeder.components.feeder_trainer.distribution.parameter_server.workers import (
    TIMEOUT_S,
    WorkerPool,
    wait_for_servers,
)
from tfx_feeder.components.feeder_trainer.distribution.strategy_info import STRATEGIES
from tfx_feeder.components.feeder_trainer.feed.rows import take_rows
from tfx_feeder.components.feeder_trainer.feed.sharding import Shard
from tfx_feeder.components.feeder_trainer.training.loss_division import check_loss_reductions
from tfx_feeder.components.feeder_trainer.training.train_step import (
    BATCH_SQ_NORM,
    COLUMNS,
    DEFAULT_STEP_OPTIONS,
    LOSS,
    MICRO_BATCH_SIZE,
    MICRO_SQ_NORM,
    STEP_S,
    WAIT_S,
    Adapter,
    StepOptions,
)

_STEPS_PER_WORKER = 4
"""Asynchronous steps per worker in a call; at its end, all workers wait for the last."""


def open_context(
    strategy: Strategy, task: ClusterTask | None, *, timeout_s: float = TIMEOUT_S
) -> DistributionContext:
    """See ``context.open_context``; connects to the servers when all of them have started.

    Args:
        strategy: Asynchronous or synchronous parameter servers.
        task: Task of the chief in a cluster of workers and parameter servers.
        timeout_s: Time without any reachable worker after which training fails, in seconds.

    Raises:
        ConfigError: The task is not the chief of such a cluster.
        WorkerLostError: A server did not start.
    """
    task = task or ClusterTask.required_from_env(os.environ)
    if task.type != "chief" or not {"worker", "ps"} <= task.cluster.keys():
        raise ConfigError(
            VARIABLE,
            received=task,
            expected=f"the chief of a cluster with workers and ps, for strategy {strategy.name}",
        )
    addresses = task.cluster["worker"]
    wait_for_servers((*addresses, *task.cluster["ps"]))
    # A call to a process that has exited fails instead of waiting for its return.
    os.environ.setdefault("GRPC_FAIL_FAST", "use_caller")
    servers = tf.distribute.experimental.ParameterServerStrategy(
        tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({type_: list(each) for type_, each in task.cluster.items()}),
            task_type=task.type,
            task_id=task.index,
            rpc_layer="grpc",
        )
    )
    workers = WorkerPool(servers, addresses, timeout_s=timeout_s)
    synchronous = STRATEGIES[strategy.name].synchronous
    steps: Callable[..., Any] = SynchronousSteps
    if isinstance(strategy, ParameterServer):
        corrects = strategy.momentum == "corrected"
        steps = functools.partial(AsynchronousSteps, corrects_momentum=corrects)
    return DistributionContext(
        functools.partial(steps, strategy.name, servers, workers),
        scope=servers.scope,
        replicas=workers.size if synchronous else 1,
        # While a worker computes one gradient, each other worker applies one on average.
        staleness=0.0 if synchronous else workers.size - 1.0,
    )


class WorkerUpdate(NamedTuple):
    """Update of the variables that a worker computed for a shard.

    Args:
        gradients: Gradients of the trainable weights that the loss depends on.
        states: New values of the model's other variables, such as moving averages.
        grad_sq_norm: Squared norm of all gradients, float32 ``[]``; 0 without noise scale.
    """

    gradients: list[tf.Tensor]
    states: list[tf.Tensor]
    grad_sq_norm: tf.Tensor


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
            "gradient_accumulation_steps": getattr(optimizer, "gradient_accumulation_steps", None),
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
            received=f"{self._name} with {feature}",
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
        function, apply_update = self._traced((self._train_fn, self._update_fn), iterator, fraction)
        rows = np.zeros((len(sizes), COLUMNS))
        for row, size in zip(rows, sizes, strict=True):
            begin = time.perf_counter()
            batch = next(iterator)
            fed = time.perf_counter()
            bounds = self._shard_bounds(size)
            for index, (start, stop) in enumerate(bounds):
                shard = take_rows(batch, start, stop)
                self._workers.submit(index, function, shard, tf.constant((stop - start) / size))
            results = dict(self._workers.result() for _ in bounds)
            output, update = _combined([results[index] for index in range(len(bounds))])
            row[LOSS], row[BATCH_SQ_NORM] = apply_update(batch, output, update)
            row[MICRO_SQ_NORM] = np.mean([each.grad_sq_norm for _, each in results.values()])
            lengths = {stop - start for start, stop in bounds}
            if self._noise_scale and len(bounds) > 1 and len(lengths) == 1:
                row[MICRO_BATCH_SIZE] = lengths.pop()
            row[WAIT_S], row[STEP_S] = fed - begin, time.perf_counter() - fed
        return rows

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
        self._update_fn = self._compiled(self._apply_update)

    def _train_on_worker(
        self, batch: tuple, fraction: tf.Tensor
    ) -> tuple[StepOutput, WorkerUpdate]:
        model = self.model
        with tf.GradientTape() as tape:
            output, scaled, scope = self._forward(*self._unpack_weighted(batch), training=True)
        gradients = tape.gradient(scaled, model.trainable_weights)
        # Set while tracing, before any worker returns a result.
        self._has_gradient = [gradient is not None for gradient in gradients]
        gradients = [tf.convert_to_tensor(g) for g in gradients if g is not None]
        states = [(v, scope.get_current_value(v)) for v in model.non_trainable_variables]
        self._state_variables = [v for v, value in states if value is not None]
        grad_sq_norm = tf.square(tf.linalg.global_norm(gradients)) if self._noise_scale else 0.0

        def weighted(value: tf.Tensor) -> tf.Tensor:
            return value * tf.cast(fraction, value.dtype) if value.dtype.is_floating else value

        output = StepOutput(
            weighted(output.loss),
            output.predictions,
            [weighted(value) for value in output.counter_updates],
        )
        update = WorkerUpdate(
            [weighted(gradient) for gradient in gradients],
            [weighted(value) for _, value in states if value is not None],
            tf.cast(grad_sq_norm, tf.float32),
        )
        return output, update

    def _apply_update(
        self, batch: tuple, output: StepOutput, update: WorkerUpdate
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Applies the gradients, updates the metrics, and returns loss and squared norm."""
        sq_norm = tf.square(tf.linalg.global_norm(update.gradients)) if self._noise_scale else 0.0
        present = iter(update.gradients)
        self._apply_gradients([next(present) if each else None for each in self._has_gradient])
        for variable, value in zip(self._state_variables, update.states, strict=True):
            variable.assign(value)
        x, y, weight = self._unpack_weighted(batch)
        self._update_from_output(x, y, weight, output)
        return output.loss, tf.cast(sq_norm, tf.float32)


def _combined(
    results: Sequence[tuple[StepOutput, WorkerUpdate]],
) -> tuple[StepOutput, WorkerUpdate]:
    """Combines the results of the shards of a batch, which are already weighted by their size."""
    outputs, updates = zip(*results, strict=True)

    def total(values: Sequence[Any]) -> Any:
        # Integers are counters, which advance equally in every shard.
        return tf.nest.map_structure(
            lambda *parts: tf.add_n(parts) if parts[0].dtype.is_floating else parts[0], *values
        )

    predictions = tf.nest.map_structure(
        lambda *parts: tf.concat(parts, axis=0), *[output.predictions for output in outputs]
    )
    return (
        StepOutput(
            total([output.loss for output in outputs]),
            predictions,
            total([output.counter_updates for output in outputs]),
        ),
        total(updates),
    )
