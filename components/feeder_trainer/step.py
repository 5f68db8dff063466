"""The compiled training and evaluation steps: many per call, one trace for every batch size."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Adapter = Callable[[Any], Any]


class CompiledSteps:
    """Runs steps of a compiled Keras model without a host round trip between them.

    The batch dimension stays unknown to the graph, so that another batch size traces nothing anew,
    and the optimizer's variables live on through every phase.

    Args:
        model: Compiled; built by ``build_from``.
        adapt: Turns a dict of features into what the model is called with.
    """

    def __init__(self, model: keras.Model, adapt: Adapter) -> None:
        self.model = model
        self.traces = 0
        self._adapt = adapt
        self._own_train_step = _overrides(model, "train_step")
        self._own_test_step = _overrides(model, "test_step")
        self._loss_takes_training = "training" in inspect.signature(model.compute_loss).parameters

    def build_from(self, batch: tuple) -> None:
        """Creates every variable of model, optimizer and metrics; trains nothing.

        Args:
            batch: one element of a feed, of at least one example.
        """
        self._evaluate_batch(tf.nest.map_structure(lambda tensor: tensor[:1], batch))
        self.model.optimizer.build(self.model.trainable_variables)
        self.model.reset_metrics()

    @tf.function(reduce_retracing=True)
    def train(self, iterator: Any, steps: tf.Tensor) -> tf.Tensor:
        """Takes ``steps`` batches from the iterator and trains on each.

        Args:
            iterator: Over the elements of a feed.
            steps: int32 ``[]``.

        Returns:
            float64 ``[steps, 2]``: seconds in which the step waited for its batch, and seconds of
            the step itself.
        """
        self.traces += 1  # Runs when tracing, not when training.
        times = tf.TensorArray(tf.float64, size=steps)
        begin = tf.timestamp()
        for step in tf.range(steps):
            # The iterator may run ahead of the step before: only the time counts as a wait in
            # which that step was over and the batch was not there.
            batch = next(iterator)
            fed = tf.maximum(_now_after(tf.nest.flatten(batch)), begin)
            self._train_batch(batch)
            end = _now_after([v.value.value() for v in self.model.trainable_variables])
            times = times.write(step, tf.stack([fed - begin, end - fed]))
            begin = end
        return times.stack()

    @tf.function(reduce_retracing=True)
    def evaluate(self, iterator: Any, steps: tf.Tensor) -> None:
        """Takes ``steps`` batches from the iterator and updates the metrics with each."""
        for _ in tf.range(steps):
            self._evaluate_batch(next(iterator))

    def results(self) -> dict[str, float]:
        """Returns loss and metrics since the last reset, as ``fit()`` names them."""
        results = self.model.get_metrics_result()
        return {name: float(np.mean(value)) for name, value in _flat(results).items()}

    def _train_batch(self, batch: tuple) -> None:
        model, optimizer = self.model, self.model.optimizer
        x, y, weight = self._unpack(batch)
        if self._own_train_step:
            model.train_step(keras.utils.pack_x_y_sample_weight(x, y, weight))
            return
        with tf.GradientTape() as tape:
            y_pred = model(x, training=True)
            loss = self._loss(x, y, y_pred, weight, training=True)
            scaled = optimizer.scale_loss(loss)
        weights = model.trainable_weights
        gradients = tape.gradient(scaled, weights)
        optimizer.apply_gradients(zip(gradients, weights, strict=True))
        self._update_metrics(x, y, y_pred, weight, loss)

    def _evaluate_batch(self, batch: tuple) -> None:
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

    def _loss(self, x: Any, y: Any, y_pred: Any, weight: Any, *, training: bool) -> tf.Tensor:
        extra = {"training": training} if self._loss_takes_training else {}
        return self.model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=weight, **extra)

    def _update_metrics(self, x: Any, y: Any, y_pred: Any, weight: Any, loss: tf.Tensor) -> None:
        for metric in self.model.metrics:
            if metric.name == "loss":
                # A partial batch counts by its size, as in fit().
                metric.update_state(loss, sample_weight=tf.shape(tf.nest.flatten(x)[0])[0])
        # Its result is dropped, and with it the graph that computes it.
        self.model.compute_metrics(x, y, y_pred, sample_weight=weight)


def _now_after(tensors: list[tf.Tensor]) -> tf.Tensor:
    """Returns the time at which all of the tensors were there, in seconds."""
    with tf.control_dependencies(tensors):
        return tf.timestamp()


def _overrides(model: keras.Model, name: str) -> bool:
    """Says whether the user's class replaces a method of keras.Model."""
    return getattr(type(model), name) not in (
        getattr(keras.Model, name),
        getattr(keras.Sequential, name),
    )


def _flat(results: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in results.items():
        flat.update(value if isinstance(value, dict) else {name: value})
    return flat
