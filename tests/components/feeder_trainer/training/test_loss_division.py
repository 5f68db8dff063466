"""Losses that depend on the whole batch are never computed from its parts."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.training.train_step import CompiledSteps, StepOptions

RANDOM = np.random.default_rng(3)
X = tf.constant(RANDOM.normal(size=(4, 5)), tf.float32)
PIXELS = tf.constant([[1, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]])
# Each example has the same sum, so that the quotients of the parts happen to be close.
SIMILAR = tf.constant([[1, 0, 1, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1], [0, 1, 1, 0, 0]])


class Ranking(keras.Model):
    """Compares the scores of each pair of examples with different labels."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True) -> Any:
        target = keras.ops.sum(y, axis=-1)
        scores = keras.ops.sum(y_pred, axis=-1)
        is_better = keras.ops.cast(target[:, None] > target[None], "float32")
        losses = is_better * keras.ops.softplus(scores[None] - scores[:, None])
        return keras.ops.sum(losses) / keras.ops.maximum(keras.ops.sum(is_better), 1.0)


class Weighted(keras.losses.Loss):
    """Weighs the error by a variable, such as a rate that a callback anneals."""

    def __init__(self, *, counts: bool = False) -> None:
        super().__init__()
        self.counts = counts
        self.weights = {"calls": keras.Variable(1.0, trainable=False)}
        self.noise = keras.random.SeedGenerator(5)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        if self.counts:
            self.weights["calls"].assign_add(1.0)
        return self.weights["calls"].value * (y_true - y_pred) ** 2


class Annealed(keras.Model):
    """Weighs the loss by its number of training steps."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.calls = tf.Variable(0, trainable=False)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True) -> Any:
        if training:
            self.calls.assign_add(1)
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss * (1.0 + tf.cast(self.calls, tf.float32))


class SummedPenalty(keras.Model):
    """Adds a sum over the batch to the loss of the training."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True) -> Any:
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss + 0.1 * keras.ops.sum(y_pred**2) if training else loss


class Variance(keras.layers.Layer):
    """Adds the variance over the batch to the loss, in training only."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        if training:
            self.add_loss(keras.ops.mean(keras.ops.var(inputs, axis=0)))
        return inputs


class Normalized(keras.Model):
    """Normalizes and draws by part of a batch, which is documented."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.norm = keras.layers.BatchNormalization()
        self.drop = keras.layers.Dropout(0.5, seed=1)

    def call(self, inputs: Any, training: bool = False) -> Any:
        outputs = super().call(inputs, training=training)
        return self.drop(self.norm(outputs, training=training), training=training)


def _balanced(y: Any, y_pred: Any) -> Any:
    weights = 1.0 + 3.0 * tf.cast(y, tf.float32)
    error = (tf.cast(y, tf.float32) - y_pred) ** 2
    return tf.reduce_sum(weights * error) / tf.reduce_sum(weights)


def _build(
    loss: Any,
    labels: Any,
    *,
    kind: type[keras.Model] = keras.Model,
    out: int = 1,
    last: keras.layers.Layer | None = None,
) -> None:
    """Builds the steps of micro-batches for a model with outputs ``[batch, 5, out]``."""
    inputs = keras.Input((5,))
    x = keras.layers.Dense(5 * out, activation="sigmoid")(inputs)
    x = keras.layers.Reshape((5, out) if out > 1 else (5,))(x)
    model = kind(inputs, last(x) if last else x)
    model.compile("sgd", loss)
    options = StepOptions(max_micro_batch_size=2)
    steps = CompiledSteps(model, lambda features: features["x"], options)
    steps.build(({"x": X}, tf.cast(labels, tf.int32 if out > 1 else tf.float32)))


@pytest.mark.parametrize(
    ("loss", "labels", "more"),
    [
        (keras.losses.Dice(), SIMILAR, {}),
        ("tversky", SIMILAR, {}),
        (_balanced, PIXELS, {}),
        (None, PIXELS, {"kind": Ranking}),
        (keras.losses.SparseCategoricalCrossentropy(ignore_class=2), PIXELS, {"out": 3}),
        ("mse", PIXELS, {"kind": SummedPenalty}),
        ("mse", PIXELS, {"last": Variance()}),
    ],
    ids=["Dice", "Tversky", "balanced", "ranking", "ignore_class", "loss", "layer"],
)
def test_a_quotient_of_sums_over_the_batch_is_not_divided(
    loss: Any, labels: Any, more: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="micro-batches"):
        _build(loss, labels, **more)


@pytest.mark.parametrize(
    ("loss", "labels", "more"),
    [
        (keras.losses.Dice(axis=-1), PIXELS, {}),
        ("mse", PIXELS, {}),
        (Weighted(), PIXELS, {}),
        ("mse", PIXELS, {"kind": Normalized}),
        (keras.losses.SparseCategoricalCrossentropy(), PIXELS, {"out": 3}),
    ],
    ids=["Dice of each example", "mse", "with a variable", "by part", "crossentropy"],
)
def test_a_loss_of_each_example_by_itself_is_divided(
    loss: Any, labels: Any, more: dict[str, Any]
) -> None:
    _build(loss, labels, **more)


@pytest.mark.parametrize(
    ("loss", "more"),
    [(Weighted(counts=True), {}), ("mse", {"kind": Annealed})],
    ids=["loss", "model"],
)
def test_a_loss_that_counts_its_calls_is_not_divided(loss: Any, more: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"micro-batches.*changes variables.*callback"):
        _build(loss, PIXELS, **more)


class WithoutTraining(keras.Model):
    """Has a call without ``training``: ``fit()`` runs its layers as in inference."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = keras.layers.Dense(3)
        self.norm = keras.layers.BatchNormalization()
        self.drop = keras.layers.Dropout(0.5, seed=1)
        self.out = keras.layers.Dense(5)

    def call(self, inputs: Any) -> Any:
        return self.out(self.drop(self.norm(self.inner(inputs))))


def _without_training() -> keras.Model:
    model = WithoutTraining()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def _dense(*, trainable: bool = True, loss: Any = "mse") -> keras.Model:
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(5)])
    model.trainable = trainable
    model.compile(keras.optimizers.SGD(0.1), loss)
    return model


def _with_step_of_the_instance() -> keras.Model:
    model = _dense()

    def train_step(data: Any) -> dict[str, Any]:
        x, y = data
        with tf.GradientTape() as tape:
            loss = keras.ops.mean(keras.ops.abs(model(x, training=True) - y))
        gradients = tape.gradient(loss, model.trainable_weights)
        model.optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
        return {"distance": loss}

    model.train_step = train_step
    return model


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (_without_training, StepOptions()),
        (_with_step_of_the_instance, StepOptions()),
        (lambda: _dense(trainable=False), StepOptions()),
        (lambda: _dense(trainable=False), StepOptions(max_micro_batch_size=3)),
        (lambda: _dense(loss=keras.losses.MeanSquaredError(reduction="none")), StepOptions()),
    ],
    ids=[
        "call without training",
        "step of the instance",
        "frozen",
        "frozen, micro-batches",
        "losses of examples",
    ],
)
def test_a_step_is_that_of_fit(make: Callable[[], keras.Model], options: StepOptions) -> None:
    batches = tf.data.Dataset.from_tensors(({"x": X}, tf.cast(PIXELS, tf.float32))).repeat(2)
    keras.utils.set_random_seed(0)
    theirs = make()
    expected = theirs.fit(batches.map(lambda features, y: (features["x"], y)), verbose=0).history
    keras.utils.set_random_seed(0)
    ours = make()
    steps = CompiledSteps(ours, lambda features: features["x"], options)
    steps.build(next(iter(batches)))

    steps.train(iter(batches), [4, 4])

    assert steps.metrics_result() == pytest.approx({k: v[0] for k, v in expected.items()}, 1e-4)
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-6)
