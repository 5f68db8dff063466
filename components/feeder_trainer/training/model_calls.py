"""Calls of a compiled Keras model as ``fit()`` makes them: forward pass, loss, metrics, update."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.training.step_logs import as_tensors

Adapter = Callable[[Any], Any]
"""Function that converts a dict of features into the inputs of a model."""


class ModelCalls:
    """Calls of one compiled Keras model.

    Args:
        model: Compiled model.
        adapt: Function that converts a dict of features into the inputs of the model.
    """

    def __init__(self, model: keras.Model, adapt: Adapter) -> None:
        self.model = model
        self._adapt = adapt
        self.own_train_step = _overrides(model, "train_step")
        self.own_test_step = _overrides(model, "test_step")
        self.own_compute_loss = _overrides(model, "compute_loss")
        self._own_compute_metrics = _overrides(model, "compute_metrics")
        # A model may replace the property ``metrics``; fit() updates its own tracker in any case.
        own_metrics = keras.Model.metrics.fget(model)
        self._loss_tracker = next(each for each in own_metrics if each.name == "loss")
        # As fit(): a model without this argument runs its layers as in inference.
        self._takes_training = "training" in inspect.signature(model.call).parameters
        self._loss_takes_training = "training" in inspect.signature(model.compute_loss).parameters

    @property
    def has_own_metrics(self) -> bool:
        """True if the model has metrics that are not compiled, such as those of its layers."""
        return any(
            each is not self._loss_tracker and each.name != "compile_metrics"
            for each in self.model.metrics
        )

    def check_needs_no_label(self) -> None:
        """Checks that the model can be trained without labels.

        Raises:
            ConfigError: The model is compiled with losses or metrics that take a label.
        """
        model = self.model
        needs = {
            "loss": model.loss is not None and not self.own_compute_loss,
            "metrics": not self._own_compute_metrics
            and any(each.name == "compile_metrics" for each in model.metrics),
        }
        if needed := [name for name, is_needed in needs.items() if is_needed]:
            raise ConfigError(
                "feed label_key",
                received=f"None, for a model compiled with {' and '.join(needed)}",
                expected="the label that they take",
                fix="Name it, or override compute_loss and compute_metrics, or train_step.",
            )

    def unpack(self, batch: tuple) -> tuple:
        """Returns the inputs, labels and sample weights of a batch; what it lacks is ``None``."""
        features, label, weight = keras.utils.unpack_x_y_sample_weight(batch)
        return self._adapt(features), label, weight

    def predictions(self, x: Any, *, training: bool) -> Any:
        """Returns the output of the model.

        Args:
            x: Inputs of the model.
            training: True to run layers such as dropout as in training.
        """
        return self.model(x, training=training) if self._takes_training else self.model(x)

    def loss(self, x: Any, y: Any, y_pred: Any, weight: Any, *, training: bool) -> tf.Tensor:
        """Returns the loss of examples, with the losses that layers add.

        Args:
            x: Inputs of the model.
            y: Labels.
            y_pred: Output of the model.
            weight: Sample weights; optional.
            training: Argument of ``compute_loss``, if it takes it.
        """
        extra = {"training": training} if self._loss_takes_training else {}
        # By position, as Keras passes them: the user's class may name them differently.
        return self.model.compute_loss(x, y, y_pred, weight, **extra)

    def update_loss(self, loss: tf.Tensor, count: tf.Tensor) -> None:
        """Updates the loss of the epoch, where a partial batch counts by its size, as in fit().

        Args:
            loss: Loss of a batch.
            count: Number of examples in the batch.
        """
        self._loss_tracker.update_state(loss, sample_weight=count)

    def update_metrics(self, x: Any, y: Any, y_pred: Any, weight: Any) -> dict[str, Any]:
        """Updates the metrics; returns the result only if its names are the model's own.

        Args:
            x: Inputs of the model.
            y: Labels.
            y_pred: Output of the model.
            weight: Sample weights; optional.
        """
        logs = self.model.compute_metrics(x, y, y_pred, sample_weight=weight)
        if not self._own_compute_metrics:
            return {}
        # An unused result is pruned from the graph.
        names = set(self.model.get_metrics_result())
        return {} if names == set(logs) else as_tensors(logs)

    def apply_gradients(self, gradients: Sequence[Any]) -> None:
        """Updates the trainable weights, if there are any; a gradient may be ``None``."""
        if weights := self.model.trainable_weights:
            self.model.optimizer.apply_gradients(zip(gradients, weights, strict=True))


def _overrides(model: keras.Model, name: str) -> bool:
    """Returns True if the user's class, or the model itself, overrides a method of keras.Model."""
    return name in vars(model) or getattr(type(model), name) not in (
        getattr(keras.Model, name),
        getattr(keras.Sequential, name),
    )
