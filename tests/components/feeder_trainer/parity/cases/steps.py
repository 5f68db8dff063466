"""Ways to compile, to call and to step a model, and metrics."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.components.feeder_trainer.parity.cases.case import (
    VECTOR,
    WHOLE_BATCHES,
    Case,
    Row,
    dense,
    inputs_and_features,
    regression,
    vector_row,
)


class Distiller(keras.Model):
    """Trains a student on labels and on the outputs of a teacher; never calls itself."""

    def __init__(self) -> None:
        super().__init__()
        self.student = keras.Sequential([keras.layers.Dense(3, "relu"), keras.layers.Dense(1)])
        self.teacher = keras.layers.Dense(1, trainable=False)

    def call(self, inputs: Any) -> Any:
        """Returns the output of the student."""
        return self.student(inputs)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Returns the metrics and the loss of the distillation."""
        x, y = data
        target = self.teacher(x)
        with tf.GradientTape() as tape:
            y_pred = self.student(x, training=True)
            loss = self.compute_loss(x, y, y_pred) + keras.ops.mean((y_pred - target) ** 2)
        weights = self.student.trainable_weights
        gradients = tape.gradient(loss, weights)
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, y_pred)
        return {metric.name: metric.result() for metric in self.metrics} | {"distillation": loss}

    def test_step(self, data: Any) -> dict[str, Any]:
        """Returns the metrics of the student."""
        x, y = data
        return self.compute_metrics(x, y, self.student(x), None)


def _distiller() -> keras.Model:
    model = Distiller()
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"])
    return model


class PythonSteps(keras.Model):
    """Reads values in Python, which only eager steps can."""

    def train_step(self, data: Any) -> dict[str, Any]:
        """Weights the examples in Python."""
        x, y = data
        weights = [2.0 if label == 1 else 0.5 for label in y.numpy()]
        return {**super().train_step((x, y, tf.constant(weights))), "weight": sum(weights)}


def _eager() -> keras.Model:
    return regression(PythonSteps, run_eagerly=True)


class OwnMetrics(keras.Model):
    """Adds a log of its own, and keeps its loss in a metric of its own."""

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict:
        """Returns the metrics and the mean output of the last batch."""
        logs = super().compute_metrics(x, y, y_pred, sample_weight)
        return {**logs, "mean_output": keras.ops.mean(y_pred)}


def _vector_metrics() -> keras.Model:
    inputs, x = inputs_and_features()
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))
    metrics = [keras.metrics.F1Score(average=None, name="f1")]
    model.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy", metrics=metrics)
    return model


def _one_hot_row(random: np.random.Generator) -> Row:
    label = np.eye(3)[random.integers(3)]
    return {"x": random.normal(size=4).tolist(), "label": label.tolist()}


class WithoutTraining(keras.Model):
    """Has a call without ``training``, so its layers run as in inference."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = keras.layers.Dense(4)
        self.norm = keras.layers.BatchNormalization()
        self.drop = keras.layers.Dropout(0.5, seed=14)
        self.out = keras.layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        """Returns one value ``[batch, 1]`` for each example."""
        return self.out(self.drop(self.norm(self.inner(inputs))))


def _without_training() -> keras.Model:
    model = WithoutTraining()
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"])
    return model


def _frozen() -> keras.Model:
    model = regression(metrics=["mae"])
    model.trainable = False
    return model


CASES: dict[str, Case] = {
    "distillation, inner models": Case(_distiller, vector_row, VECTOR, cells=WHOLE_BATCHES),
    "call without training": Case(_without_training, vector_row, VECTOR),
    "no trainable weights": Case(_frozen, vector_row, VECTOR),
    "run_eagerly": Case(lambda: regression(run_eagerly=True), vector_row, VECTOR),
    "run_eagerly, steps in Python": Case(_eager, vector_row, VECTOR, cells=WHOLE_BATCHES),
    "jit_compile": Case(lambda: regression(jit_compile=True), vector_row, VECTOR),
    "own compute_metrics": Case(
        lambda: regression(OwnMetrics, metrics=["mae"]), vector_row, VECTOR, cells=WHOLE_BATCHES
    ),
    "metrics with several values": Case(
        _vector_metrics, _one_hot_row, {"x": dense(4), "label": dense(3)}
    ),
}
