"""Compiled training and evaluation steps: many per call, one trace for all batch sizes."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.rows import (
    batch_of_tensors,
    count_rows,
    take_rows,
    with_unknown_batch_size,
)
from tfx_feeder.components.feeder_trainer.model.state import refresh_constants
from tfx_feeder.components.feeder_trainer.training.class_weights import ClassWeights
from tfx_feeder.components.feeder_trainer.training.division_check import (
    DivisionCheck,
    cannot_divide,
)
from tfx_feeder.components.feeder_trainer.training.gradient_accumulation import (
    AccumulatedGradients,
    accumulate,
)
from tfx_feeder.components.feeder_trainer.training.loss_division import (
    check_loss_reductions,
    unchanged_variables,
    unmasked_fraction,
)
from tfx_feeder.components.feeder_trainer.training.model_calls import Adapter, ModelCalls
from tfx_feeder.components.feeder_trainer.training.retracing import TracedLayers
from tfx_feeder.components.feeder_trainer.training.step_logs import (
    as_numpy,
    as_tensors,
    specs_of,
    total_loss,
    zeros_of,
)
from tfx_feeder.components.feeder_trainer.training.step_loop import (
    compiled,
    pack,
    repeated,
    unpack,
)

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

EXAMPLES_TO_BUILD = 8
"""Examples that ``CompiledSteps.build`` needs to judge whether a loss is a mean over examples."""


class CompiledSteps:
    """Runs steps of a compiled Keras model without a host round trip between them.

    The batch dimension of the graph is unknown, so a new batch size needs no retracing, and the
    optimizer's variables persist through all phases.

    Args:
        model: Compiled model; ``build`` creates its variables.
        adapt: Function that converts a dict of features into the inputs of the model.
        options: Options of the steps.

    Raises:
        ConfigError: Micro-batches or the noise scale are requested, but the model overrides
            ``train_step`` or has a loss that is not a mean over examples.
    """

    replicas = 1
    min_steps_per_call = 1
    """Minimum number of steps per call, so that workers do not idle at the end of each call."""
    _strategy_name = ""
    """Name of the strategy that divides the batches; empty for one device."""
    _weights_masked_targets = True
    """Whether the parts of a batch are weighted by their unmasked targets."""
    _divides_metrics = True
    """Whether the metrics are updated with the parts of a batch."""
    _sums_metrics = False
    """Whether each replica updates metrics of its own, which are summed when they are read."""

    def __init__(
        self,
        model: keras.Model,
        adapt: Adapter,
        options: StepOptions = DEFAULT_STEP_OPTIONS,
    ) -> None:
        self.model = model
        self.traces = 0
        self.max_micro_batch_size = options.max_micro_batch_size
        self.evaluation_error = ""
        self._logs: dict[str, Any] | None = None
        self._train_logs: Mapping[str, tf.TensorSpec] = {}
        self._test_logs: Mapping[str, tf.TensorSpec] = {}
        self._examples: tuple = ()
        self._example: tuple = ()
        self._batch_counters: list[keras.Variable] = []
        self._calls = ModelCalls(model, adapt)
        self.layers = TracedLayers(model)
        self._with_class_weight = ClassWeights(options.class_weight)
        self._noise_scale = options.noise_scale
        # TensorFlow refuses to read the clock in a graph once determinism is on in a process.
        self._deterministic = options.deterministic or is_op_determinism_enabled()
        if self._calls.own_train_step and (options.max_micro_batch_size or options.noise_scale):
            raise ConfigError(
                "max_micro_batch_size" if options.max_micro_batch_size else "schedule",
                received=options.max_micro_batch_size or "noise_scale",
                expected="unset for a model that overrides train_step",
                fix="Override compute_loss instead; train_step takes the whole batch.",
            )
        if options.max_micro_batch_size or options.noise_scale:
            check_loss_reductions(self._division, model)
        self._compile()

    def halve_micro_batches(self, batch_size: int) -> int:
        """Halves the micro-batch size after the device ran out of memory.

        Args:
            batch_size: Global batch size that did not fit.

        Returns:
            The new ``max_micro_batch_size``.

        Raises:
            ConfigError: Micro-batches would change the update; see ``build``.
        """
        was_divided = self._divides_batches
        self.max_micro_batch_size = max(1, (self.max_micro_batch_size or batch_size) // 2)
        if not was_divided:
            if self._calls.own_train_step:
                raise cannot_divide("a model that overrides train_step", self._division)
            check_loss_reductions(self._division, self.model)
            self._check_division()
        self._compile()
        return self.max_micro_batch_size

    def build(self, batch: tuple) -> None:
        """Creates the variables of model, optimizers and metrics without training.

        Args:
            batch: Element of a feed with at least one example; with ``EXAMPLES_TO_BUILD``, losses
                are seen to depend on the other examples of a batch.

        Raises:
            ConfigError: The model cannot be called; or needs a label, and there is none; or the
                batches are divided, and the loss is not a mean over examples; or a metric does not
                add up over replicas.
        """
        batch = batch_of_tensors(batch)
        self._examples, self._example = batch, take_rows(batch, 0, 1)
        if len(self._example) == 1 and not self._calls.own_train_step:
            self._calls.check_needs_no_label()
        with unchanged_variables(self.model):
            self._build()
            if self._divides_batches:
                self._check_division()
            elif self._sums_metrics and not (
                self._calls.own_train_step or self._calls.own_test_step
            ):
                DivisionCheck(self._calls, "several workers", self._examples).check_sums()
        self.model.reset_metrics()
        self.layers = TracedLayers(self.model)

    def retrace(self) -> None:
        """Forgets the traced steps, if they hold constants of layers whose weights were loaded."""
        if refresh_constants(self.model):
            self._compile()

    def follow_callbacks(self, *, is_first: bool, processes: int) -> None:
        """Forgets the traced steps if a callback has changed which layers are trained.

        Args:
            is_first: See ``TracedLayers.must_retrace``.
            processes: See ``TracedLayers.must_retrace``.
        """
        if self.layers.must_retrace(is_first=is_first, processes=processes):
            self._compile()

    def metrics_result(self) -> dict[str, Any]:
        """Returns the logs of an epoch, as in ``fit()``.

        These are the metrics since the last reset, or, if the model's own step or
        ``compute_metrics`` returned other names, what it returned for the last batch. Vectors are
        arrays.
        """
        results = as_numpy(self.model.get_metrics_result())
        if self._logs is None or self._logs.keys() == results.keys():
            return results
        return dict(self._logs)

    def batch_logs(self) -> dict[str, Any]:
        """Returns the logs of the last batch, as in ``fit()``."""
        return self.metrics_result() if self._logs is None else dict(self._logs)

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
        rows, logs = self._train(iterator, pack(sizes))
        rows, self._logs = rows.numpy(), as_numpy(logs) if logs else None
        if self._deterministic:
            rows[:, STEP_S] = (time.perf_counter() - begin) / len(sizes)
        return rows

    def evaluate(self, iterator: Any, sizes: Sequence[int]) -> None:
        """Updates the metrics with batches of an iterator.

        Args:
            iterator: Iterator over the elements of a feed.
            sizes: Examples in each global batch, as in ``train``.
        """
        logs = self._evaluate(iterator, pack(sizes))
        self._logs = as_numpy(logs) if logs else None

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
        self._train_one, self._evaluate_one = self._train_batch, self._evaluate_batch
        if self.model.run_eagerly:
            self._train, self._evaluate = self._train_many, self._evaluate_many
            return
        # Slices of unknown size have no place in programs of XLA.
        if self.model.jit_compile and not self._divides_batches:
            self._train_one = compiled(self._train_batch, jit_compile=True)
            self._evaluate_one = compiled(self._evaluate_batch, jit_compile=True)
        self._train = compiled(self._train_many)
        self._evaluate = compiled(self._evaluate_many)

    @property
    def _divides_batches(self) -> bool:
        """True if no forward pass covers a whole batch."""
        return bool(self._strategy_name or self.max_micro_batch_size or self._noise_scale)

    @property
    def _division(self) -> str:
        """Name of what divides the batches, for error messages."""
        if self._strategy_name:
            return f"strategy {self._strategy_name}"
        return "the gradient noise scale" if self._noise_scale else "micro-batches"

    def _check_division(self) -> None:
        """Checks that the parts of a batch give the update of the whole batch."""
        if self._train_logs:
            raise cannot_divide("compute_metrics with names of its own", self._division)
        check = DivisionCheck(self._calls, self._division, self._examples, self._in_replica)
        check.check_loss(weights_masked_targets=self._weights_masked_targets)
        if self._divides_metrics:
            self._batch_counters = check.batch_counters(sums_replicas=self._sums_metrics)

    def _in_replica(self, update: Callable[[tuple], None], batch: tuple) -> None:
        """Calls a function that updates metrics with a batch, as a step does."""
        update(batch)

    def _build(self) -> None:
        model, optimizer = self.model, self.model.optimizer
        x, y, weight = self._calls.unpack(self._example)
        if not (self._calls.own_train_step or self._calls.own_test_step):
            logs = self._evaluate_examples(self._example)
            self._train_logs = self._test_logs = specs_of(logs)
            optimizer.build(model.trainable_variables)
            return
        try:
            y_pred = model(x, training=False)
        except NotImplementedError as error:
            raise ConfigError(
                "model_fn",
                received=f"a model of {type(model).__name__}, which has no call()",
                expected="a model that can be called, because it is exported for serving",
                fix="Define call(), such as the output of the inner model.",
            ) from error
        # The model's own steps may use loss and metrics or not; fit() builds them as well. Without
        # labels, a step that makes its targets builds them when it is traced.
        if y is not None:
            if not all(getattr(metric, "built", True) for metric in model.metrics):
                model.compute_metrics(x, y, y_pred, sample_weight=weight)
            if model.loss is not None:
                self._calls.loss(x, y, y_pred, weight, training=False)
        optimizer.build(model.trainable_variables)
        # Creates the variables that only the steps use, such as those of other optimizers. A step
        # that runs eagerly may not be traceable; it creates them when it first runs, as in fit().
        if not model.run_eagerly:
            self._train_logs = self._traced_logs(
                lambda batch: self._train_batch(batch, tf.constant(1))[1]
            )
        if self._calls.own_test_step:
            if not model.run_eagerly:
                self._test_logs = self._traced_logs(self._evaluate_examples)
            return
        try:
            self._test_logs = specs_of(self._evaluate_examples(self._example))
        except (ValueError, TypeError, AttributeError) as error:
            self.evaluation_error = str(error)

    def _traced_logs(self, step: Callable[[tuple], Any]) -> dict[str, tf.TensorSpec]:
        spec = tf.nest.map_structure(tf.type_spec_from_value, self._example)
        traced = compiled(step).get_concrete_function(with_unknown_batch_size(spec))
        return specs_of(traced.structured_outputs)

    def _train_many(self, iterator: Any, lengths: tf.Tensor) -> tuple[tf.Tensor, dict[str, Any]]:
        if tf.executing_eagerly():
            return self._train_steps(iterator, lengths)
        self.traces += 1  # Runs when tracing, not when training.
        with self.layers.tracing():
            return self._train_steps(iterator, lengths)

    def _train_steps(self, iterator: Any, lengths: tf.Tensor) -> tuple[tf.Tensor, dict[str, Any]]:
        def train(step: tf.Tensor, begin: tf.Tensor, rows: tf.TensorArray, _: Any) -> tuple:
            # The iterator may run ahead of the previous step: a wait is only the time after that
            # step has finished and before the batch is ready.
            batch = next(iterator)
            tensors = tf.nest.flatten(batch, expand_composites=True)
            fed = tf.maximum(self._now_after(tensors), begin)
            figures, logs = self._train_one(batch, unpack(lengths, step))
            end = self._now_after([v.value.value() for v in self.model.trainable_variables])
            row = tf.concat([[fed - begin, end - fed], figures], axis=0)
            return end, rows.write(step, row), logs

        rows = tf.TensorArray(tf.float64, size=lengths[0])
        begin = (self._now_after([]), rows, zeros_of(self._train_logs))
        _, rows, logs = repeated(lengths[0], train, begin)
        return rows.stack(), logs

    def _now_after(self, tensors: list[tf.Tensor]) -> tf.Tensor:
        """Returns the time at which all tensors were computed, in seconds."""
        # The group is one dependency per device, where each tensor would be a transfer of its own.
        with tf.control_dependencies([tf.group(*tensors)]):
            return tf.constant(0.0, tf.float64) if self._deterministic else tf.timestamp()

    def _evaluate_many(self, iterator: Any, lengths: tf.Tensor) -> dict[str, Any]:
        def evaluate(step: tf.Tensor, _: Any) -> tuple:
            return (self._evaluate_one(next(iterator), unpack(lengths, step)),)

        return repeated(lengths[0], evaluate, (zeros_of(self._test_logs),))[0]

    def _train_batch(self, batch: tuple, size: tf.Tensor) -> tuple[tf.Tensor, dict[str, Any]]:
        """Trains on one batch.

        Args:
            batch: Element of the feed.
            size: Examples in the global batch, int32 ``[]``; ``batch`` may be a shard of it.

        Returns:
            The columns from ``LOSS`` on, float64 ``[4]``, and the model's own logs.
        """
        del size
        x, y, weight = self._calls.unpack(batch)
        weight = self._with_class_weight(y, weight)
        if self._calls.own_train_step:
            logs = self.model.train_step(keras.utils.pack_x_y_sample_weight(x, y, weight))
            return tf.stack([total_loss(logs), 0.0, 0.0, 0.0]), as_tensors(logs)
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
        if self._divides_batches:
            # Once for the whole batch: masked micro-batches differ in their number of targets.
            self._update_loss(result.loss, count_rows(x))
        self._apply_gradients(result.values)
        columns = [result.loss, result.micro_sq_norm, result.batch_sq_norm, result.micro_batch_size]
        return tf.cast(tf.stack(columns), tf.float64), result.logs

    def _gradients(self, x: Any, y: Any, weight: Any, fraction: Any = 1.0) -> AccumulatedGradients:
        """Computes the gradients of examples and updates the metrics, except the loss of a part.

        Args:
            x: Inputs of the model.
            y: Labels.
            weight: Sample weights; optional.
            fraction: Fraction of the batch that the examples are.
        """
        model = self.model
        with self._weighted_by(fraction):
            with tf.GradientTape() as tape:
                y_pred = self._calls.predictions(x, training=True)
                loss = self._calls.loss(x, y, y_pred, weight, training=True)
                scaled = model.optimizer.scale_loss(loss)
            if not self._divides_batches:
                self._update_loss(loss, count_rows(x))
            logs = self._update_metrics(x, y, y_pred, weight)
        return AccumulatedGradients(
            tape.gradient(scaled, model.trainable_weights),
            # With reduction="none" or None, it is that of each example, as in fit().
            tf.reduce_mean(tf.cast(loss, tf.float32)),
            target_fraction=unmasked_fraction(y_pred),
            logs=logs,
        )

    def _evaluate_batch(self, batch: tuple, size: tf.Tensor) -> dict[str, Any]:
        """Evaluates one batch and returns the model's own logs; see ``_train_batch``."""
        del size
        return self._evaluate_examples(batch)

    def _evaluate_examples(self, batch: tuple, fraction: Any = 1.0) -> dict[str, Any]:
        """Updates the metrics with examples and returns the model's own logs.

        Args:
            batch: Examples.
            fraction: Fraction of the batch that the examples are.
        """
        x, y, weight = self._calls.unpack(batch)
        if self._calls.own_test_step:
            data = keras.utils.pack_x_y_sample_weight(x, y, weight)
            return as_tensors(self.model.test_step(data))
        with self._weighted_by(fraction):
            y_pred = self.model(x, training=False)
            loss = self._calls.loss(x, y, y_pred, weight, training=False)
            self._update_loss(loss, count_rows(x))
            return self._update_metrics(x, y, y_pred, weight)

    def _apply_gradients(self, gradients: Sequence[Any]) -> None:
        """Updates the trainable weights; a gradient may be ``None``."""
        self._calls.apply_gradients(gradients)

    @contextlib.contextmanager
    def _weighted_by(self, fraction: Any) -> Iterator[None]:
        """Weights the updates of metrics that count batches, such as the losses by output.

        The parts of a batch have to add up to one update.

        Args:
            fraction: Fraction of the batch that the examples are.
        """
        before = [(v, tf.identity(v.value)) for v in self._batch_counters]
        yield
        for variable, value in before:
            change = tf.identity(variable.value) - value
            # The loss of an all-zero example may be NaN, which a fraction of zero has to remove.
            variable.assign(
                value + tf.math.multiply_no_nan(change, tf.cast(fraction, change.dtype))
            )

    def _update_loss(self, loss: tf.Tensor, count: tf.Tensor) -> None:
        """Updates the loss of the epoch; see ``ModelCalls.update_loss``."""
        self._calls.update_loss(loss, count)

    def _update_metrics(self, x: Any, y: Any, y_pred: Any, weight: Any) -> dict[str, Any]:
        """Updates the metrics; see ``ModelCalls.update_metrics``."""
        return self._calls.update_metrics(x, y, y_pred, weight)
