"""Compiled training and evaluation steps: many per call, one trace for all batch sizes."""

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.training.gradient_accumulation import (
    AccumulatedGradients,
    accumulate,
)

Adapter = Callable[[Any], Any]

WAIT_S, STEP_S, LOSS, MICRO_SQ_NORM, BATCH_SQ_NORM, MICRO_BATCH_SIZE = range(6)
"""Columns of the rows that ``CompiledSteps.train`` returns."""
COLUMNS = MICRO_BATCH_SIZE + 1
"""Number of these columns."""


@dataclass(frozen=True, slots=True)
class StepOptions:
    """Options of the compiled steps.

    Args:
        class_weight: Weight of each class in the training loss, by its integer label.
        max_micro_batch_size: Maximum number of examples in one forward pass; ``None``: the whole
            batch.
        noise_scale: If True, split every batch in two at least and return the squared norms from
            which the gradient noise scale is estimated.
        deterministic: If True, run deterministic operations only and do not read the clock in the
            graph.
    """

    class_weight: Mapping[int, float] | None = None
    max_micro_batch_size: int | None = None
    noise_scale: bool = False
    deterministic: bool = False


DEFAULT_STEP_OPTIONS = StepOptions()


class CompiledSteps:
    """Runs steps of a compiled Keras model without a host round trip between them.

    The batch dimension of the graph is unknown, so a new batch size needs no retracing, and the
    optimizer's variables persist through all phases.

    Args:
        model: Compiled model; ``build`` creates its variables.
        adapt: Function that converts a dict of features into the inputs of the model.
        options: Options of the steps.

    Raises:
        ConfigError: Micro-batches are requested, but the model overrides ``train_step``.
    """

    replicas = 1
    min_steps_per_call = 1
    """Minimum number of steps per call, so that workers do not idle at the end of each call."""

    def __init__(
        self,
        model: keras.Model,
        adapt: Adapter,
        options: StepOptions = DEFAULT_STEP_OPTIONS,
    ) -> None:
        self.model = model
        self.traces = 0
        self.max_micro_batch_size = options.max_micro_batch_size
        self._adapt = adapt
        self._class_weight = _weight_table(options.class_weight)
        self._noise_scale = options.noise_scale
        # TensorFlow refuses to read the clock in a graph once determinism is on in a process.
        self._deterministic = options.deterministic or is_op_determinism_enabled()
        self._own_train_step = _overrides(model, "train_step")
        self._own_test_step = _overrides(model, "test_step")
        self._loss_takes_training = "training" in inspect.signature(model.compute_loss).parameters
        if self._own_train_step and (options.max_micro_batch_size or options.noise_scale):
            raise ConfigError(
                "max_micro_batch_size" if options.max_micro_batch_size else "schedule",
                received=options.max_micro_batch_size or "noise_scale",
                expected="unset for a model that overrides train_step",
                fix="Override compute_loss instead; train_step takes the whole batch.",
            )
        self._compile()

    def halve_micro_batches(self, batch_size: int) -> int:
        """Halves the micro-batch size after the device ran out of memory.

        Args:
            batch_size: Global batch size that did not fit.

        Returns:
            The new ``max_micro_batch_size``.
        """
        self.max_micro_batch_size = max(1, (self.max_micro_batch_size or batch_size) // 2)
        self._compile()
        return self.max_micro_batch_size

    def build(self, batch: tuple) -> None:
        """Creates the variables of model, optimizer and metrics without training.

        Args:
            batch: Element of a feed with at least one example.
        """
        first = tf.nest.map_structure(lambda tensor: tensor[:1], batch)
        self._evaluate_batch(first, tf.constant(1))
        self.model.optimizer.build(self.model.trainable_variables)
        self.model.reset_metrics()

    def metrics_result(self) -> dict[str, float]:
        """Returns loss and metrics since the last reset, with the names of ``fit()``."""
        results = _flat(self.model.get_metrics_result())
        # A metric may return a variable that is mirrored across replicas.
        return {name: float(np.mean(tf.convert_to_tensor(v))) for name, v in results.items()}

    def train(self, iterator: Any, sizes: Sequence[int]) -> np.ndarray:
        """Trains on batches of an iterator.

        Args:
            iterator: Iterator over the elements of a feed.
            sizes: Examples in each global batch; all equal except the last, which may be smaller.

        Returns:
            float64 ``[steps, 6]``, one row per step: seconds of waiting for the batch
            (``WAIT_S``), seconds of the step itself (``STEP_S``), the loss (``LOSS``), and, for
            the noise scale, the mean squared norm of the micro-batch gradients
            (``MICRO_SQ_NORM``), the squared norm of the batch gradient (``BATCH_SQ_NORM``), and
            the size of the micro-batches (``MICRO_BATCH_SIZE``); 0 if not estimated. With
            deterministic operations the waits are 0 and all steps of a call have the same
            duration.
        """
        begin = time.perf_counter()
        rows = self._train(iterator, pack(sizes)).numpy()
        if self._deterministic:
            rows[:, STEP_S] = (time.perf_counter() - begin) / len(sizes)
        return rows

    def evaluate(self, iterator: Any, sizes: Sequence[int]) -> None:
        """Updates the metrics with batches of an iterator.

        Args:
            iterator: Iterator over the elements of a feed.
            sizes: Examples in each global batch, as in ``train``.
        """
        self._evaluate(iterator, pack(sizes))

    def profile(self, iterator: Any, sizes: Sequence[int]) -> np.ndarray:
        """Runs training steps for timing only; the caller restores the variables.

        Args:
            iterator: Iterator over the elements of a feed.
            sizes: Examples in each global batch, as in ``train``.

        Returns:
            Rows of the steps, as in ``train``.
        """
        return self.train(iterator, sizes)

    def compute_only_step_s(self, iterator: Any, sizes: Sequence[int]) -> float | None:
        """Measures a step without communication between replicas.

        Variables may change; the caller restores them.

        Args:
            iterator: Iterator over the elements of a feed.
            sizes: Examples in each global batch, as in ``train``.

        Returns:
            Seconds per step; ``None`` if replicas do not communicate or cannot run without.
        """
        del iterator, sizes
        return None

    def synchronize(self) -> None:
        """Combines weights and metrics of processes that train independently.

        All processes call this method at the same point.
        """

    def history_note(self) -> str:
        """Returns a note about the steps for the training history; empty if there is none."""
        return ""

    def _compile(self) -> None:
        self._train = tf.function(self._train_many, reduce_retracing=True)
        self._evaluate = tf.function(self._evaluate_many, reduce_retracing=True)

    def _train_many(self, iterator: Any, lengths: tf.Tensor) -> tf.Tensor:
        self.traces += 1  # Runs when tracing, not when training.
        steps = lengths[0]
        rows = tf.TensorArray(tf.float64, size=steps)
        begin = self._now_after([])
        for step in tf.range(steps):
            # The iterator may run ahead of the previous step: a wait is only the time after that
            # step has finished and before the batch is ready.
            batch = next(iterator)
            fed = tf.maximum(self._now_after(tf.nest.flatten(batch)), begin)
            figures = self._train_batch(batch, unpack(lengths, step))
            end = self._now_after([v.value.value() for v in self.model.trainable_variables])
            rows = rows.write(step, tf.concat([[fed - begin, end - fed], figures], axis=0))
            begin = end
        return rows.stack()

    def _now_after(self, tensors: list[tf.Tensor]) -> tf.Tensor:
        """Returns the time at which all tensors were computed, in seconds."""
        with tf.control_dependencies(tensors):
            return tf.constant(0.0, tf.float64) if self._deterministic else tf.timestamp()

    def _evaluate_many(self, iterator: Any, lengths: tf.Tensor) -> None:
        for step in tf.range(lengths[0]):
            self._evaluate_batch(next(iterator), unpack(lengths, step))

    def _train_batch(self, batch: tuple, size: tf.Tensor) -> tf.Tensor:
        """Trains on one batch and returns float64 ``[4]``, the columns from ``LOSS`` on.

        Args:
            batch: Element of the feed.
            size: Examples in the global batch, int32 ``[]``; ``batch`` may be a shard of it.
        """
        del size
        x, y, weight = self._unpack(batch)
        weight = self._with_class_weight(y, weight)
        if self._own_train_step:
            logs = self.model.train_step(keras.utils.pack_x_y_sample_weight(x, y, weight))
            return tf.stack([tf.cast(logs.get("loss", 0.0), tf.float64), 0.0, 0.0, 0.0])
        if self.max_micro_batch_size or self._noise_scale:
            result = accumulate(
                self._gradients,
                (x, y, weight),
                self.model.trainable_weights,
                limit=self.max_micro_batch_size,
                at_least_two=self._noise_scale,
            )
        else:
            result = self._gradients(x, y, weight)
        weights = self.model.trainable_weights
        self.model.optimizer.apply_gradients(zip(result.values, weights, strict=True))
        return tf.cast(
            tf.stack(
                [result.loss, result.micro_sq_norm, result.batch_sq_norm, result.micro_batch_size]
            ),
            tf.float64,
        )

    def _gradients(self, x: Any, y: Any, weight: Any) -> AccumulatedGradients:
        model = self.model
        with tf.GradientTape() as tape:
            y_pred = model(x, training=True)
            loss = self._loss(x, y, y_pred, weight, training=True)
            scaled = model.optimizer.scale_loss(loss)
        self._update_metrics(x, y, y_pred, weight, loss)
        return AccumulatedGradients(
            tape.gradient(scaled, model.trainable_weights), tf.cast(loss, tf.float32)
        )

    def _evaluate_batch(self, batch: tuple, size: tf.Tensor) -> None:
        del size
        x, y, weight = self._unpack(batch)
        if self._own_test_step:
            self.model.test_step(keras.utils.pack_x_y_sample_weight(x, y, weight))
            return
        y_pred = self.model(x, training=False)
        loss = self._loss(x, y, y_pred, weight, training=False)
        self._update_metrics(x, y, y_pred, weight, loss)

    def _unpack(self, batch: tuple) -> tuple:
        features, label, weight = keras.utils.unpack_x_y_sample_weight(batch)
        return self._adapt(features), label, weight

    def _with_class_weight(self, y: Any, weight: Any) -> Any:
        if self._class_weight is None:
            return weight
        if isinstance(y, Mapping):
            raise ConfigError(
                "loop class_weight",
                received=f"labels for the outputs {sorted(y)}",
                expected="a model with one output",
                fix="Use FeedOptions(weight_key=...) instead.",
            )
        labels = tf.argmax(y, axis=-1) if y.shape.rank > 1 and y.shape[-1] != 1 else y
        labels = tf.reshape(tf.cast(labels, tf.int64), [-1])
        last = self._class_weight.shape[0] - 1
        of_class = tf.gather(self._class_weight, tf.minimum(labels, last))
        return of_class if weight is None else of_class * tf.cast(weight, tf.float32)

    def _loss(self, x: Any, y: Any, y_pred: Any, weight: Any, *, training: bool) -> tf.Tensor:
        extra = {"training": training} if self._loss_takes_training else {}
        return self.model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=weight, **extra)

    def _update_metrics(self, x: Any, y: Any, y_pred: Any, weight: Any, loss: tf.Tensor) -> None:
        for metric in self.model.metrics:
            if metric.name == "loss":
                # A partial batch counts by its size, as in fit().
                metric.update_state(loss, sample_weight=tf.shape(tf.nest.flatten(x)[0])[0])
        # The result is unused, so its computation is pruned from the graph.
        self.model.compute_metrics(x, y, y_pred, sample_weight=weight)


def pack(sizes: Sequence[int]) -> tf.Tensor:
    """Returns the number of batches, their size, and the size of the last one.

    A tensor of all sizes would change its shape from call to call, which causes retracing.
    """
    return tf.constant([len(sizes), sizes[0], sizes[-1]])


def unpack(lengths: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Returns the size of a batch, int32 ``[]``.

    Args:
        lengths: Tensor returned by ``pack``.
        step: Index of the batch.
    """
    return tf.where(step == lengths[0] - 1, lengths[2], lengths[1])


def _weight_table(class_weight: Mapping[int, float] | None) -> tf.Tensor | None:
    """Returns float32 ``[classes + 1]``; the last entry is the weight of all higher classes.

    A class without a weight has weight 1, also above the highest class with a weight, where
    ``fit()`` fails.
    """
    if class_weight is None:
        return None
    table = np.ones(max(class_weight) + 2, np.float32)
    for label, weight in class_weight.items():
        table[label] = weight
    return tf.constant(table)


def _overrides(model: keras.Model, name: str) -> bool:
    """Returns True if the user's class overrides a method of keras.Model."""
    return getattr(type(model), name) not in (
        getattr(keras.Model, name),
        getattr(keras.Sequential, name),
    )


def _flat(results: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in results.items():
        flat.update(value if isinstance(value, dict) else {name: value})
    return flat
