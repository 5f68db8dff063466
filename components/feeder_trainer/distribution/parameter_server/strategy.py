"""Parameter servers: they hold the variables, workers compute gradients, a coordinator directs.

The coordinator runs the ordinary training loop and takes the batches from the ordinary feed, in the
same order as sequential training; it ships each to a worker with the call that needs it.

Asynchronous, a whole batch goes to the next free worker, which applies its gradient to the
servers' variables as soon as it has it. Meanwhile others may have applied theirs: the gradient is
as many updates stale. Synchronous, each worker gets a part of the batch; the coordinator waits for
all of them, adds the gradients up and applies the sum: the result is that of sequential training.

A worker that dies is done without until it is back at its address, and its call goes to another.
Every example is trained on at least once: an asynchronous call whose worker died after it had
applied its gradient and before it could say so is applied again. A synchronous gradient is applied
once in any case. Where no worker is left, or a parameter server is lost, the training ends, and
goes on from its checkpoint.
"""

import functools
import math
import operator
import os
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import VARIABLE, ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.context import DistributionContext
from tfx_feeder.components.feeder_trainer.distribution.data_parallel import check_losses
from tfx_feeder.components.feeder_trainer.distribution.options import STRATEGIES, Strategy
from tfx_feeder.components.feeder_trainer.distribution.parameter_server.steps import (
    ParameterServerSteps,
    StepOutput,
)
from tfx_feeder.components.feeder_trainer.distribution.parameter_server.workers import (
    TIMEOUT_S,
    WorkerPool,
    wait_for_servers,
)
from tfx_feeder.components.feeder_trainer.feed.sharding import Shard
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

_STEPS_OF_WORKER = 4
"""Asynchronous steps of each worker in a call: at its end all wait for the last."""


def open_context(
    strategy: Strategy, task: ClusterTask | None, *, timeout_s: float = TIMEOUT_S
) -> DistributionContext:
    """See ``context.open_context``; connects to the servers as soon as all of them are there.

    Args:
        strategy: ``parameter_server`` or ``parameter_server_sync``.
        task: The chief of a cluster of workers and parameter servers.
        timeout_s: Time without any worker that answers, after which the training gives up.

    Raises:
        ConfigError: There is no such cluster.
        WorkerLostError: A server does not come up.
    """
    if task is None or task.type != "chief" or not {"worker", "ps"} <= task.cluster.keys():
        raise ConfigError(
            VARIABLE,
            received=task,
            expected=f"the chief of a cluster with workers and ps, for strategy {strategy.name}",
        )
    addresses = task.cluster["worker"]
    wait_for_servers((*addresses, *task.cluster["ps"]))
    # A call to a process that is gone fails then, instead of waiting for it to come back.
    os.environ.setdefault("GRPC_FAIL_FAST", "use_caller")
    servers = tf.distribute.experimental.ParameterServerStrategy(
        tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({kind: list(all_) for kind, all_ in task.cluster.items()}),
            task_type=task.type,
            task_id=task.index,
            rpc_layer="grpc",
            # A worker runs a call on one device; further ones would repeat the same batch.
            num_accelerators={"GPU": min(1, len(tf.config.list_physical_devices("GPU")))},
        )
    )
    workers = WorkerPool(servers, addresses, timeout_s=timeout_s)
    synchronous = STRATEGIES[strategy.name].synchronous
    steps = SynchronousSteps if synchronous else AsynchronousSteps
    return DistributionContext(
        functools.partial(steps, strategy.name, servers, workers),
        scope=servers.scope,
        replicas=workers.count if synchronous else 1,
    )


class WorkerUpdate(NamedTuple):
    """What a worker sends back for the master copy.

    Args:
        gradients: Of the trainable weights that the loss depends on.
        states: New values of other variables of the model, such as moving averages.
        square: Squared norm of all gradients, float32 ``[]``; 0 where it is not wanted.
    """

    gradients: list[tf.Tensor]
    states: list[tf.Tensor]
    square: tf.Tensor


class AsynchronousSteps(ParameterServerSteps):
    """Whole batches to whichever worker is free; each applies its own gradient.

    All calls are done when ``train`` returns, so that the learning rate of a phase is that of its
    own batches.

    Args:
        name: See ``ParameterServerSteps``, also for the other arguments.

    Raises:
        ConfigError: The model or the options ask for what only a step that sees one batch after
            another can do.
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
        self._steps = self._stale_sum = self._stale_max = 0
        self.min_steps_per_call = _STEPS_OF_WORKER * workers.count
        with strategy.scope():
            self._applied = tf.Variable(tf.zeros([], tf.int64), trainable=False)
        super().__init__(name, strategy, workers, model, adapt, options)
        optimizer = model.optimizer
        refused = {
            "a schedule that follows the noise scale": options.noise_scale,
            "max_micro_batch_size": options.max_micro_batch_size,
            "mixed_float16, whose loss scale changes from step to step": isinstance(
                optimizer, keras.optimizers.LossScaleOptimizer
            ),
            "gradient_accumulation_steps": getattr(optimizer, "gradient_accumulation_steps", None),
        }
        for what, is_asked in refused.items():
            if is_asked:
                raise self._refusal(what)

    def halve_micro_batches(self, batch_size: int) -> int:
        """Refuses: a batch goes through the model as a whole.

        Raises:
            ConfigError: Always.
        """
        raise self._refusal(f"a batch of {batch_size}, too large for the memory of a worker")

    def _refusal(self, what: str) -> ConfigError:
        return ConfigError(
            "strategy",
            received=f"{self._name} with {what}",
            expected="a synchronous strategy for it",
            fix="parameter_server_sync runs on the same cluster.",
        )

    @property
    def staleness(self) -> dict[str, float]:
        """Updates that others applied while a gradient was computed: ``mean`` and ``max``."""
        return {"mean": self._stale_sum / max(1, self._steps), "max": self._stale_max}

    def history_note(self) -> str:
        """See ``CompiledSteps.history_note``."""
        stale = self.staleness
        return (
            f"A gradient was {stale['mean']:.1f} updates old in the mean and {stale['max']:.0f} at "
            f"most when it was applied, with {self._workers.count} workers."
        )

    def train(self, iterator: Any, sizes: Sequence[int]) -> np.ndarray:
        """See ``CompiledSteps.train``; what is not waiting for the feed is shared out evenly."""
        function, counting = self._traced((self._training, self._counting_trained), iterator)
        iterations = self.model.optimizer.iterations
        done = int(np.asarray(iterations))
        rows = np.zeros((len(sizes), COLUMNS))
        batches: dict[int, tuple] = {}
        begin = time.perf_counter()

        def count() -> None:
            step, (outcome, stale) = self._workers.take()
            counting(batches.pop(step), outcome, stale)
            rows[step, LOSS] = outcome.loss
            self._stale_sum += int(stale)
            self._stale_max = max(self._stale_max, int(stale))

        for step in range(len(sizes)):
            asked = time.perf_counter()
            batches[step] = next(iterator)
            rows[step, WAIT_S] = time.perf_counter() - asked
            self._workers.put(step, function, batches[step])
            if not self._workers.has_room:
                count()
        while batches:
            count()
        self._steps += len(sizes)
        # Workers that count at the same time lose some.
        iterations.assign(done + len(sizes))
        elapsed = time.perf_counter() - begin
        rows[:, STEP_S] = (elapsed - rows[:, WAIT_S].sum()) / len(sizes)
        return rows

    def _compile(self) -> None:
        super()._compile()
        self._training = self._compiled(self._train_on_worker)
        self._counting_trained = self._compiled(self._count_trained)

    def _train_on_worker(self, batch: tuple) -> tuple[StepOutput, tf.Tensor]:
        model = self.model
        started = self._applied.read_value()
        with tf.control_dependencies([started]), tf.GradientTape() as tape:
            outcome, scaled, scope = self._outcome(*self._unpack_weighted(batch), training=True)
        gradients = tape.gradient(scaled, model.trainable_weights)
        for variable in model.non_trainable_variables:
            value = scope.get_current_value(variable)
            if value is not None:
                variable.assign(value)
        self._apply(gradients)
        with tf.control_dependencies([g for g in gradients if g is not None]):
            applied = self._applied.assign_add(1, read_value=True)
        return outcome, applied - 1 - started

    def _count_trained(self, batch: tuple, outcome: StepOutput, stale: tf.Tensor) -> None:
        del stale
        x, y, weight = self._unpack_weighted(batch)
        self._update(x, y, weight, outcome)


class SynchronousSteps(ParameterServerSteps):
    """A part of each batch to each worker; their gradients are added up and applied once.

    Where micro-batches are asked for, or the noise scale, a batch is cut into more parts.

    Args:
        name: See ``ParameterServerSteps``, also for the other arguments.

    Raises:
        ConfigError: The model has a loss that is no mean over examples.
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
        self.replicas = workers.count
        super().__init__(name, strategy, workers, model, adapt, options)
        check_losses(name, self.model)

    def train(self, iterator: Any, sizes: Sequence[int]) -> np.ndarray:
        """See ``CompiledSteps.train``."""
        share = tf.TensorSpec([], tf.float32)
        function, finish = self._traced((self._training, self._finishing), iterator, share)
        rows = np.zeros((len(sizes), COLUMNS))
        for row, size in zip(rows, sizes, strict=True):
            begin = time.perf_counter()
            batch = next(iterator)
            fed = time.perf_counter()
            parts = self._parts(size)
            for index, (start, stop) in enumerate(parts):
                rows_of = operator.itemgetter(slice(start, stop))
                part = tf.nest.map_structure(rows_of, batch)
                self._workers.put(index, function, part, tf.constant((stop - start) / size))
            results = dict(self._workers.take() for _ in parts)
            outcome, update = _joined([results[index] for index in range(len(parts))])
            row[LOSS], row[BATCH_SQ_NORM] = finish(batch, outcome, update)
            row[MICRO_SQ_NORM] = np.mean([result[1].square for result in results.values()])
            lengths = {stop - start for start, stop in parts}
            if self._noise_scale and len(parts) > 1 and len(lengths) == 1:
                row[MICRO_BATCH_SIZE] = lengths.pop()
            row[WAIT_S], row[STEP_S] = fed - begin, time.perf_counter() - fed
        return rows

    def _parts(self, size: int) -> list[tuple[int, int]]:
        """Returns first row and end of each part of a batch."""
        count = max(self._workers.count, 2 if self._noise_scale else 1)
        if self.max_micro_batch_size:
            count = max(count, math.ceil(size / self.max_micro_batch_size))
        parts = [Shard(index, count).bounds(size) for index in range(count)]
        return [(start, stop) for start, stop in parts if stop > start]

    def _compile(self) -> None:
        super()._compile()
        self._training = self._compiled(self._train_on_worker)
        self._finishing = self._compiled(self._finish)

    def _train_on_worker(self, batch: tuple, share: tf.Tensor) -> tuple[StepOutput, WorkerUpdate]:
        model = self.model
        with tf.GradientTape() as tape:
            outcome, scaled, scope = self._outcome(*self._unpack_weighted(batch), training=True)
        gradients = tape.gradient(scaled, model.trainable_weights)
        # Known when it is traced, which is before anything comes back.
        self._has_gradient = [gradient is not None for gradient in gradients]
        gradients = [tf.convert_to_tensor(g) for g in gradients if g is not None]
        states = [(v, scope.get_current_value(v)) for v in model.non_trainable_variables]
        self._changing = [v for v, value in states if value is not None]
        square = tf.square(tf.linalg.global_norm(gradients)) if self._noise_scale else 0.0

        def by_share(value: tf.Tensor) -> tf.Tensor:
            return value * tf.cast(share, value.dtype) if value.dtype.is_floating else value

        outcome = StepOutput(
            by_share(outcome.loss), outcome.predictions, [by_share(v) for v in outcome.counted]
        )
        update = WorkerUpdate(
            [by_share(gradient) for gradient in gradients],
            [by_share(value) for _, value in states if value is not None],
            tf.cast(square, tf.float32),
        )
        return outcome, update

    def _finish(
        self, batch: tuple, outcome: StepOutput, update: WorkerUpdate
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Applies the gradients and updates the metrics; returns loss and squared norm."""
        square = tf.square(tf.linalg.global_norm(update.gradients)) if self._noise_scale else 0.0
        given = iter(update.gradients)
        gradients = [next(given) if is_there else None for is_there in self._has_gradient]
        self._apply(gradients)
        for variable, value in zip(self._changing, update.states, strict=True):
            variable.assign(value)
        x, y, weight = self._unpack_weighted(batch)
        self._update(x, y, weight, outcome)
        return outcome.loss, tf.cast(square, tf.float32)


def _joined(results: Sequence[tuple[StepOutput, WorkerUpdate]]) -> tuple[StepOutput, WorkerUpdate]:
    """Puts together what the parts of a batch came to, weighted by their share already."""
    outcomes, updates = zip(*results, strict=True)

    def total(values: Sequence[Any]) -> Any:
        # Integers are counters, which go on alike in every part.
        return tf.nest.map_structure(
            lambda *parts: tf.add_n(parts) if parts[0].dtype.is_floating else parts[0], *values
        )

    predictions = tf.nest.map_structure(
        lambda *parts: tf.concat(parts, axis=0), *[outcome.predictions for outcome in outcomes]
    )
    return (
        StepOutput(
            total([outcome.loss for outcome in outcomes]),
            predictions,
            total([outcome.counted for outcome in outcomes]),
        ),
        total(updates),
    )
