"""Weights of classes, beside those of ``fit()``, for labels of each example or each position."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.training.train_step import CompiledSteps, StepOptions

RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(6, 4)).astype(np.float32)
CLASSES = RANDOM.integers(0, 2, (6, 3))
CLASS_WEIGHT = {0: 1.0, 1: 5.0}


def _model(shape: tuple[int, ...], loss: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    size = int(np.prod(shape))
    layers = [keras.layers.Dense(size, "sigmoid"), keras.layers.Reshape(shape)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(keras.optimizers.SGD(0.5), loss)
    return model


def _trained(model: keras.Model, batch: tuple) -> keras.Model:
    steps = CompiledSteps(model, lambda x: x["x"], StepOptions(class_weight=CLASS_WEIGHT))
    steps.build(batch)
    steps.train(iter(tf.data.Dataset.from_tensors(batch).repeat(2)), [6, 6])
    return model


@pytest.mark.parametrize(
    ("label", "shape", "loss"),
    [
        (CLASSES[:, :1].astype(np.float32), (1,), "binary_crossentropy"),
        (CLASSES[..., None].astype(np.float32), (3, 1), "binary_crossentropy"),
        (np.eye(2, dtype=np.float32)[CLASSES], (3, 2), "categorical_crossentropy"),
        (0.1 + 0.8 * CLASSES[:, 0].astype(np.float32), (1,), "mse"),
    ],
    ids=["example", "position", "position, one-hot", "smoothed"],
)
def test_weights_are_those_of_fit(label: Any, shape: tuple[int, ...], loss: str) -> None:
    data = tf.data.Dataset.from_tensors((X, label)).repeat(2)
    theirs = _model(shape, loss)
    theirs.fit(data, class_weight=CLASS_WEIGHT, verbose=0)

    ours = _trained(_model(shape, loss), ({"x": tf.constant(X)}, tf.constant(label)))

    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("of_position", [False, True])
def test_they_multiply_the_weights_of_the_feed(of_position: bool) -> None:
    label = CLASSES[..., None].astype(np.float32)
    weight = RANDOM.uniform(0.1, 2, (6, 3) if of_position else 6).astype(np.float32)
    of_class = np.where(CLASSES == 1, 5.0, 1.0)
    product = of_class * (weight if of_position else weight[:, None])
    data = tf.data.Dataset.from_tensors((X, label, product)).repeat(2)
    theirs = _model((3, 1), "binary_crossentropy")
    theirs.fit(data, verbose=0)

    batch = ({"x": tf.constant(X)}, tf.constant(label), tf.constant(weight))
    ours = _trained(_model((3, 1), "binary_crossentropy"), batch)

    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-6)


class Reconstruction(keras.Model):
    """Takes its input as target."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True) -> Any:
        return keras.ops.mean((y_pred - x) ** 2)


def test_they_need_a_label() -> None:
    inputs = keras.Input((4,))
    model = Reconstruction(inputs, keras.layers.Dense(4)(inputs))
    model.compile("sgd")

    with pytest.raises(ConfigError, match="no label"):
        _trained(model, ({"x": tf.constant(X)},))
