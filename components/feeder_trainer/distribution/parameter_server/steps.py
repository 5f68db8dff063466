"""Steps whose gradients workers compute and whose variables live on parameter servers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.parameter_server.workers import WorkerPool
from tfx_feeder.components.feeder_trainer.training.train_step import (
    DEFAULT_STEP_OPTIONS,
    Adapter,
    CompiledSteps,
    StepOptions,
)


class StepOutput(NamedTuple):
    """What a worker sends back of some examples.

    Args:
        loss: float32 ``[]``.
        predictions: As the model gave them, ``[examples, ...]``.
        counted: What was added to variables of the model's metrics while the loss was computed.
    """

    loss: Any
    predictions: Any
    counted: list[Any]


class ParameterServerSteps(CompiledSteps):
    """What the synchronous and the asynchronous steps have in common.

    Metrics are updated by the coordinator alone, from the predictions that come back: workers that
    read and write the same sum would lose some of what they add.

    Args:
        name: Of the strategy.
        strategy: Connected to the cluster.
        workers: Those that compute.
        model: See ``CompiledSteps``, also for the other arguments.

    Raises:
        ConfigError: The model brings a ``train_step`` or a ``test_step`` of its own.
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
        self._name = name
        self._strategy = strategy
        self._workers = workers
        super().__init__(model, adapt, options)
        for method, is_own in (
            ("train_step", self._own_train_step),
            ("test_step", self._own_test_step),
        ):
            if is_own:
                raise ConfigError(
                    "model_fn",
                    received=f"a model with a {method} of its own",
                    expected=f"the {method} of keras.Model with strategy {name}",
                    fix="Override compute_loss and compute_metrics instead, which it supports.",
                )

    def build(self, batch: tuple) -> None:
        """See ``CompiledSteps.build``."""
        with self._strategy.scope():
            super().build(batch)

    def _compile(self) -> None:
        # The coordinator evaluates: it has the examples, and fetching the weights costs least.
        self._evaluate = tf.function(self._evaluate_many, reduce_retracing=True)

    def _compiled(self, function: Any) -> Any:
        """Returns a function that is traced as what a worker runs."""
        strategy = self._strategy

        def in_replica(*args: Any) -> Any:
            self.traces += 1  # Runs when tracing.
            return strategy.run(function, args)

        return tf.function(in_replica)

    def _traced(self, functions: tuple[Any, Any], iterator: Any, *more: tf.TensorSpec) -> Any:
        """Traces, once for batches of all sizes, what workers do and what is done with it here.

        Args:
            functions: The first takes a batch and more, and returns a tuple; the second takes a
                batch and what is in the tuple.
            iterator: Of the batches.
            *more: What else the first takes.
        """
        batch = tf.nest.map_structure(_of_any_size, iterator.element_spec)
        there, here = functions
        with self._strategy.scope():
            there = there.get_concrete_function(batch, *more)
            results = tf.nest.map_structure(
                lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), there.structured_outputs
            )
            return there, here.get_concrete_function(batch, *results)

    def _unpack_weighted(self, batch: tuple) -> tuple:
        """Returns x, y and the sample weights in training."""
        x, y, weight = self._unpack(batch)
        return x, y, self._with_class_weight(y, weight)

    def _outcome(
        self, x: Any, y: Any, weight: Any, *, training: bool
    ) -> tuple[StepOutput, tf.Tensor, keras.StatelessScope]:
        """Runs model and loss.

        Returns:
            The outcome, the scaled loss, and a scope with the values that variables would have
            been assigned.
        """
        model = self.model
        # Regularizers look for the weights in the scope.
        known = [(v, v) for v in model.trainable_variables]
        zeros = [(v, tf.zeros(v.shape, v.dtype)) for v in model.metrics_variables]
        with keras.StatelessScope([*known, *zeros], collect_losses=True) as scope:
            predictions = model(x, training=training)
            loss = self._loss(x, y, predictions, weight, training=training)
            scaled = model.optimizer.scale_loss(loss) if training else loss
        values = [(v, scope.get_current_value(v), zero) for v, zero in zeros]
        # Known when it is traced, which is before anything comes back.
        self._counters = [v for v, value, zero in values if value is not zero]
        counted = [value for _, value, zero in values if value is not zero]
        return StepOutput(tf.cast(loss, tf.float32), predictions, counted), scaled, scope

    def _apply(self, gradients: Sequence[Any]) -> None:
        """Updates the trainable weights; a gradient may be ``None``."""
        weights = self.model.trainable_weights
        arrived = []
        for gradient, weight in zip(gradients, weights, strict=True):
            # Keras reduces over replicas, for which it wants to know where a gradient is.
            with tf.device(weight.value.device):
                arrived.append(None if gradient is None else tf.identity(gradient))
        self.model.optimizer.apply_gradients(zip(arrived, weights, strict=True))

    def _update(self, x: Any, y: Any, weight: Any, outcome: StepOutput) -> None:
        """Updates the metrics with what came back."""
        for variable, value in zip(self._counters, outcome.counted, strict=True):
            variable.assign_add(value)
        self._update_metrics(x, y, outcome.predictions, weight, outcome.loss)


def _of_any_size(spec: Any) -> Any:
    """Leaves the batch dimension open, so that another size traces nothing anew."""
    if isinstance(spec, tf.TensorSpec):
        return tf.TensorSpec([None, *spec.shape[1:]], spec.dtype)
    return spec
