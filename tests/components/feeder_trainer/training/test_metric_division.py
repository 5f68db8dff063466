"""Logs of micro-batches are those of whole batches, whatever the metrics count."""

import functools
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.components.feeder_trainer.parity import harness
from tests.components.feeder_trainer.parity.cases import VECTOR, Case
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.context import open_context
from tfx_feeder.components.feeder_trainer.distribution.options import SingleDevice
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.training.train_step import CompiledSteps, StepOptions


class MetricsInLoss(keras.Model):
    """Updates metrics of its own with the loss: a mean of examples, counts, a mean of batches."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.error = keras.metrics.MeanAbsoluteError(name="error")
        self.hits = keras.metrics.TruePositives(name="hits")
        self.norm = keras.metrics.Mean(name="norm")

    def compute_loss(self, inputs: Any, target: Any, output: Any, weight: Any = None) -> Any:
        """Returns the mean squared error."""
        target = keras.ops.reshape(target, (-1, 1))
        self.error.update_state(target, output)
        self.hits.update_state(target, keras.ops.sigmoid(output))
        self.norm.update_state(keras.ops.mean(output**2))
        return keras.ops.mean((output - target) ** 2)


class MetricsInCall(keras.Model):
    """Updates a metric with one number for each call."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.size = keras.metrics.Mean(name="size")

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Returns the outputs."""
        outputs = super().call(inputs, training=training)
        self.size.update_state(keras.ops.mean(keras.ops.abs(outputs)))
        return outputs


class MetricsInTraining(MetricsInCall):
    """Updates the metric in training only."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Returns the outputs."""
        outputs = super(MetricsInCall, self).call(inputs, training=training)
        if training:
            self.size.update_state(keras.ops.mean(keras.ops.abs(outputs)))
        return outputs


class Unused(keras.Model):
    """Has a layer that the loss does not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.out, self.auxiliary = keras.layers.Dense(1), keras.layers.Dense(2)

    def call(self, inputs: Any) -> Any:
        """Returns one value ``[batch, 1]`` for each example."""
        self.auxiliary(inputs)
        return self.out(inputs)


class Latest(keras.Metric):
    """Keeps the mean of the last batch, or the largest value."""

    def __init__(self, keep: Callable[[Any, Any], Any], name: str) -> None:
        super().__init__(name=name)
        self.keep = keep
        self.kept = self.add_weight(shape=(), initializer="zeros", name="kept")

    def update_state(self, y: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Keeps a number of the batch."""
        self.kept.assign(self.keep(self.kept, y))

    def result(self) -> Any:
        """Returns the number."""
        return self.kept.value


def last(kept: Any, y: Any) -> Any:
    """Returns the mean of the batch."""
    return tf.reduce_mean(y)


def largest(kept: Any, y: Any) -> Any:
    """Returns the largest value so far."""
    return tf.maximum(kept, tf.reduce_max(y))


def absolute_error(y: Any, y_pred: Any) -> Any:
    """Returns the mean of the batch, as many functions of users do."""
    return tf.reduce_mean(tf.abs(tf.reshape(y, [-1]) - tf.reshape(y_pred, [-1])))


def batch_f1(y: Any, y_pred: Any) -> Any:
    """Returns the F1 score of the batch."""
    y, hit = tf.reshape(y, [-1]), tf.cast(tf.reshape(y_pred, [-1]) > 0, tf.float32)
    return 2 * tf.reduce_sum(y * hit) / (tf.reduce_sum(y) + tf.reduce_sum(hit) + 1e-7)


def _model(kind: type[keras.Model] = keras.Model, **compiled: Any) -> keras.Model:
    inputs = keras.Input((4,), name="x")
    model = kind(inputs, keras.layers.Dense(1)(inputs))
    model.compile(**{"optimizer": keras.optimizers.SGD(0.1), "loss": "mse"} | compiled)
    return model


def _unused() -> keras.Model:
    model = Unused()
    model.compile(keras.optimizers.AdamW(0.01, weight_decay=0.5), "mse")
    return model


def _two_outputs(**compiled: Any) -> keras.Model:
    inputs = keras.Input((4,), name="x")
    outputs = {name: keras.layers.Dense(1, name=name)(inputs) for name in "ab"}
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.1), {"a": "mse", "b": "mae"}, **compiled)
    return model


TWO = FeedOptions(label_key={"a": "label", "b": "label"}, cache="none")
COUNTING = ["AUC", "Precision", "RootMeanSquaredError"]


def _row(random: np.random.Generator) -> dict[str, Any]:
    return {"x": random.normal(size=4).tolist(), "label": float(random.integers(2))}


def _logs(case: Case, folder: Path) -> str:
    path = harness.write_examples(case, str(folder))
    options = StepOptions(max_micro_batch_size=3)
    train = functools.partial(harness.loop, case, path, open_context(SingleDevice(), None), options)
    return harness.difference(train(), harness.fit(case, path))


@pytest.mark.parametrize(
    ("make", "feed"),
    [
        (lambda: _model(metrics=[absolute_error, *COUNTING]), None),
        (lambda: _model(MetricsInLoss, loss=None), None),
        (lambda: _model(MetricsInCall), None),
        (lambda: _model(MetricsInTraining), None),
        (lambda: _two_outputs(metrics={"a": ["mae"]}), TWO),
        (lambda: _two_outputs(run_eagerly=True), TWO),
        (_unused, None),
    ],
    ids=[
        "means of batches and counts",
        "metrics in the loss",
        "metrics in call",
        "metrics in training",
        "losses by output",
        "losses by output, run_eagerly",
        "weights without gradient",
    ],
)
def test_logs_and_weights_are_those_of_fit(
    make: Callable[[], keras.Model], feed: FeedOptions | None, tmp_path: Path
) -> None:
    case = Case(make, _row, VECTOR, *([feed] if feed else []))

    assert _logs(case, tmp_path) == "equal"


def test_a_metric_that_no_parts_give_is_refused_before_the_first_step() -> None:
    model = _model(metrics=[batch_f1])
    model.set_weights([np.zeros((4, 1)), np.ones(1)])  # Each prediction is a hit.
    options = StepOptions(max_micro_batch_size=3)
    steps = CompiledSteps(model, lambda features: features["x"], options)
    labels = tf.constant([1.0, 0, 0, 0, 1, 1, 1, 1])

    with pytest.raises(ConfigError, match=r"metric.*depends on the other examples"):
        steps.build(({"x": tf.ones([8, 4])}, labels))


@pytest.mark.parametrize(
    ("keep", "sums_replicas", "is_refused"),
    [(last, False, True), (largest, False, False), (largest, True, True)],
)
def test_a_metric_that_does_not_add_up_is_refused(
    keep: Callable[[Any, Any], Any], sums_replicas: bool, is_refused: bool
) -> None:
    class Steps(CompiledSteps):
        _sums_metrics = sums_replicas

    model = _model(metrics=[Latest(keep, "kept")])
    steps = Steps(model, lambda features: features["x"], StepOptions(max_micro_batch_size=3))
    expected = pytest.raises(ConfigError, match=r"metric.*kept") if is_refused else nullcontext()

    with expected:
        steps.build(({"x": tf.ones([8, 4])}, tf.range(1.0, 9.0)))


@pytest.mark.parametrize("keep", [last, largest])
def test_a_metric_that_workers_cannot_sum_is_refused(keep: Callable[[Any, Any], Any]) -> None:
    class Steps(CompiledSteps):
        _sums_metrics = True

    batch = {"x": tf.ones([8, 4])}, tf.range(1.0, 9.0)
    Steps(_model(metrics=["mse", "mae", batch_f1]), lambda f: f["x"]).build(batch)
    steps = Steps(_model(metrics=[Latest(keep, "kept")]), lambda features: features["x"])

    with pytest.raises(ConfigError, match=r"metric.*kept.*does not add up over batches"):
        steps.build(batch)


def test_rounding_of_large_counts_is_no_dependence_on_other_examples() -> None:
    model = _model(weighted_metrics=["AUC"], loss="binary_crossentropy")
    steps = CompiledSteps(model, lambda f: f["x"], StepOptions(max_micro_batch_size=3))
    random = np.random.default_rng(0)
    x, labels = random.normal(size=(8, 4)), np.arange(8) % 2

    steps.build(({"x": tf.constant(x, tf.float32)}, labels, random.uniform(0.5, 99, 8)))
