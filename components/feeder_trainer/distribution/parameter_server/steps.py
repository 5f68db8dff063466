"""Base of the steps whose gradients workers compute and whose variables parameter servers hold."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.data_parallel import (
    check_updates,
    innermost_optimizer,
)
from tfx_feeder.components.feeder_trainer.distribution.parameter_server.workers import WorkerPool
from tfx_feeder.components.feeder_trainer.feed.rows import count_rows, with_unknown_batch_size
from tfx_feeder.components.feeder_trainer.training.division_check import cannot_divide
from tfx_feeder.components.feeder_trainer.training.model_calls import Adapter
from tfx_feeder.components.feeder_trainer.training.step_loop import compiled
from tfx_feeder.components.feeder_trainer.training.train_step import (
    DEFAULT_STEP_OPTIONS,
    CompiledSteps,
    StepOptions,
)


class StepOutput(NamedTuple):
    """Output of a worker for some examples.

    Args:
        loss: Loss, float32 ``[]``.
        predictions: Output of the model, ``[examples, ...]``.
        counter_updates: Increments of the metrics' variables that computing the loss caused.
    """

    loss: Any
    predictions: Any
    counter_updates: list[Any]


class ParameterServerSteps(CompiledSteps):
    """Base class of the synchronous and the asynchronous steps.

    Only the coordinator updates metrics, from the predictions that the workers return: workers
    that read and write the same sum concurrently would lose updates.

    Args:
        name: Name of the strategy in error messages.
        strategy: TensorFlow strategy that is connected to the cluster.
        workers: Pool of the workers.
        model: Compiled model.
        adapt: See ``CompiledSteps``.
        options: Options of the steps.

    Raises:
        ConfigError: The model overrides ``train_step`` or ``test_step``, or runs eagerly; or the
            optimizer updates conditionally.
    """

    _weights_masked_targets = False
    _divides_metrics = False

    def __init__(
        self,
        name: str,
        strategy: tf.distribute.Strategy,
        workers: WorkerPool,
        model: keras.Model,
        adapt: Adapter,
        options: StepOptions = DEFAULT_STEP_OPTIONS,
    ) -> None:
        self._strategy_name = name
        self._strategy = strategy
        self._workers = workers
        super().__init__(model, adapt, options)
        check_updates(name, innermost_optimizer(model.optimizer))
        if model.run_eagerly:
            raise ConfigError(
                "model_fn",
                received="a model compiled with run_eagerly=True",
                expected=f"compiled steps, which strategy {name} sends to its workers",
                fix="Drop the option, or use another strategy.",
            )
        for method, is_custom in (
            ("train_step", self._calls.own_train_step),
            ("test_step", self._calls.own_test_step),
        ):
            if is_custom:
                raise ConfigError(
                    "model_fn",
                    received=f"a model with a custom {method}",
                    expected=f"the {method} of keras.Model with strategy {name}",
                    fix="Override compute_loss and compute_metrics instead.",
                )

    def build(self, batch: tuple) -> None:
        """See ``CompiledSteps.build``."""
        with self._strategy.scope():
            super().build(batch)
        if self._train_logs:
            raise cannot_divide("compute_metrics with names of its own", self._division)

    def _compile(self) -> None:
        # The coordinator evaluates: it holds the examples, so only the weights are transferred.
        self._evaluate_one = self._evaluate_batch
        self._evaluate = compiled(self._evaluate_many)

    def _compiled(self, function: Any) -> Any:
        """Returns a function that is traced for execution on a worker."""
        strategy = self._strategy

        def in_replica(*args: Any) -> Any:
            self.traces += 1  # Runs when tracing.
            with self.layers.tracing():
                return strategy.run(function, args)

        return tf.function(in_replica, autograph=False)

    def _traced(self, functions: tuple[Any, Any], iterator: Any, *extra: tf.TensorSpec) -> Any:
        """Traces a worker's function and the coordinator's, once for all batch sizes.

        Args:
            functions: The worker's function takes a batch and the extra arguments, and returns a
                tuple; the coordinator's takes a batch and the elements of the tuple.
            iterator: Iterator over the batches.
            *extra: Specs of the worker's extra arguments.
        """
        batch = with_unknown_batch_size(iterator.element_spec)
        on_worker, on_coordinator = functions
        with self._strategy.scope():
            on_worker = on_worker.get_concrete_function(batch, *extra)
            results = tf.nest.map_structure(
                lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype),
                on_worker.structured_outputs,
            )
            return on_worker, on_coordinator.get_concrete_function(batch, *results)

    def _unpack_weighted(self, batch: tuple) -> tuple:
        """Returns x, y and the sample weights for training."""
        x, y, weight = self._calls.unpack(batch)
        return x, y, self._with_class_weight(y, weight)

    def _forward(
        self, x: Any, y: Any, weight: Any, *, training: bool
    ) -> tuple[StepOutput, tf.Tensor, keras.StatelessScope]:
        """Runs the model and the loss without assigning any variable.

        Returns:
            The output, the scaled loss, and a scope with the values that would have been assigned.
        """
        model = self.model
        # Regularizers look up the weights in the scope.
        known = [(v, v) for v in model.trainable_variables]
        zeros = [(v, tf.zeros(v.shape, v.dtype)) for v in model.metrics_variables]
        with keras.StatelessScope([*known, *zeros], collect_losses=True) as scope:
            predictions = self._calls.predictions(x, training=training)
            loss = self._calls.loss(x, y, predictions, weight, training=training)
            scaled = model.optimizer.scale_loss(loss) if training else loss
        values = [(v, scope.get_current_value(v), zero) for v, zero in zeros]
        # Set while tracing, before any worker returns a result.
        self._counters = [v for v, value, zero in values if value is not zero]
        updates = [value for _, value, zero in values if value is not zero]
        return StepOutput(tf.cast(loss, tf.float32), predictions, updates), scaled, scope

    def _apply_gradients(self, gradients: Sequence[Any]) -> None:
        """Updates the trainable weights; a gradient may be ``None``."""
        weights = self.model.trainable_weights
        placed = []
        for gradient, weight in zip(gradients, weights, strict=True):
            # Keras reduces over the replicas and requires each gradient on its weight's device.
            with tf.device(weight.value.device):
                placed.append(None if gradient is None else tf.identity(gradient))
        super()._apply_gradients(placed)

    def _update_from_output(self, x: Any, y: Any, weight: Any, output: StepOutput) -> None:
        """Updates the metrics with the output of a worker."""
        for variable, value in zip(self._counters, output.counter_updates, strict=True):
            variable.assign_add(value)
        self._update_loss(output.loss, count_rows(x))
        self._update_metrics(x, y, output.predictions, weight)
