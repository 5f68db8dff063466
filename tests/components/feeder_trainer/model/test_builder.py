"""The user's model: where it may come from, what is refused, and what it is called with."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image
from tfx_feeder.components.feeder_trainer.model.builder import (
    ModelContext,
    feature_adapter,
    input_names,
    learning_rate,
    make_model,
    set_learning_rate,
)

CONTEXT = ModelContext(feature_spec={}, feed=FeedOptions())


def _small(**compiled: Any) -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    if compiled:
        model.compile(**compiled)
    return model


def test_a_context_with_nested_ragged_features_reaches_other_processes() -> None:
    ragged = tf.io.RaggedFeature
    partitions = [ragged.RowLengths("lengths"), ragged.UniformRowLength(2)]
    spec = {"words": ragged(tf.string, "values", partitions)}
    context = ModelContext(feature_spec=spec, feed=FeedOptions())

    assert pickle.loads(pickle.dumps(context)) == context


def test_the_context_reaches_the_function() -> None:
    seen = []

    def model_fn(context: ModelContext) -> keras.Model:
        seen.append(context)
        return _small(optimizer="sgd", loss="mse")

    make_model(model_fn, CONTEXT)

    assert seen == [CONTEXT]


def test_a_model_built_outside_is_refused() -> None:
    outside = _small(optimizer="sgd", loss="mse")

    with pytest.raises(ConfigError, match="model_fn: expected a model built inside") as e:
        make_model(lambda _: outside, CONTEXT)

    assert "dense" in str(e.value)


def test_a_layer_built_outside_is_refused() -> None:
    layer = keras.layers.Dense(2, name="shared_layer")
    layer.build((None, 3))

    def model_fn(_: ModelContext) -> keras.Model:
        model = keras.Sequential([keras.Input((3,)), layer])
        model.compile("sgd", "mse")
        return model

    with pytest.raises(ConfigError, match="shared_layer/kernel"):
        make_model(model_fn, CONTEXT)


def test_a_model_that_is_not_compiled_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"compiled model.*model\.compile\("):
        make_model(lambda _: _small(), CONTEXT)


@pytest.mark.parametrize(
    "decay", [keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9), lambda: 0.1]
)
def test_a_learning_rate_schedule_is_refused(decay: Any) -> None:
    with pytest.raises(ConfigError, match=r"LearningRateSchedule.*Pass a float"):
        make_model(lambda _: _small(optimizer=keras.optimizers.SGD(decay), loss="mse"), CONTEXT)


@pytest.mark.parametrize("result", [None, "model", object()])
def test_what_is_no_model_is_refused_by_its_type(result: Any) -> None:
    with pytest.raises(ConfigError, match=f"Keras 3.*{type(result).__qualname__}"):
        make_model(lambda _: result, CONTEXT)


def test_a_legacy_keras_model_is_refused() -> None:
    tf_keras = pytest.importorskip("tf_keras")

    def model_fn(_: ModelContext) -> Any:
        model = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))])
        model.compile("sgd", "mse")
        return model

    with pytest.raises(ConfigError, match=r"Received: 'tf_keras.*TF_USE_LEGACY_KERAS"):
        make_model(model_fn, CONTEXT)


def test_an_error_of_the_users_own_passes_unchanged() -> None:
    def model_fn(_: ModelContext) -> keras.Model:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        make_model(model_fn, CONTEXT)


def test_a_model_of_keras_applications() -> None:
    def model_fn(_: ModelContext) -> keras.Model:
        base = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=4)
        base.compile("sgd", "sparse_categorical_crossentropy")
        return base

    assert make_model(model_fn, CONTEXT).count_params() > 0


def test_a_saved_model(tmp_path: Path) -> None:
    saved = _small(optimizer=keras.optimizers.Adam(0.25), loss="mse")
    saved.save(tmp_path / "start.keras")

    model = make_model(lambda _: keras.models.load_model(tmp_path / "start.keras"), CONTEXT)

    assert learning_rate(model) == 0.25
    for own, other in zip(model.get_weights(), saved.get_weights(), strict=True):
        assert (own == other).all()


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.SGD(0.1),
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1)),
    ],
)
def test_the_rate_can_be_assigned(optimizer: Callable) -> None:
    model = make_model(lambda _: _small(optimizer=optimizer(), loss="mse"), CONTEXT)

    set_learning_rate(model, 0.5)

    assert learning_rate(model) == 0.5


# What a model is called with.


def _features(*names: str) -> dict[str, tf.Tensor]:
    return {name: tf.fill([2, 1], float(index)) for index, name in enumerate(names)}


def _called_with(structure: Any) -> keras.Model:
    tensors = tf.nest.flatten(structure)
    joined = keras.layers.Concatenate()(tensors) if len(tensors) > 1 else tensors[0]
    return keras.Model(structure, keras.layers.Dense(1)(joined))


def _input(name: str) -> Any:
    return keras.Input((1,), name=name)


class Subclassed(keras.Model):
    """Does not say what it takes."""

    def call(self, inputs: Any) -> Any:
        return inputs


@pytest.mark.parametrize(
    ("make", "names", "available", "expected"),
    [
        (lambda: _called_with(_input("a")), ["a"], ["a"], lambda f: f["a"]),
        (lambda: _called_with(_input("a")), ["a"], ["b", "a"], lambda f: f["a"]),
        (lambda: _called_with(_input("x")), ["x"], ["image"], lambda f: f["image"]),
        (
            lambda: _called_with([_input("b"), _input("a")]),
            ["b", "a"],
            ["a", "b", "c"],
            lambda f: [f["b"], f["a"]],
        ),
        (
            lambda: _called_with({"a": _input("a"), "b": _input("b")}),
            ["a", "b"],
            ["a", "b", "c"],
            lambda f: {"a": f["a"], "b": f["b"]},
        ),
        (
            lambda: _called_with({"a": _input("other_name"), "b": _input("b")}),
            ["a", "b"],
            ["a", "b"],
            lambda f: {"a": f["a"], "b": f["b"]},
        ),
        (
            lambda: _called_with({"x": _input("x")}),
            ["x"],
            ["image"],
            lambda f: {"x": f["image"]},
        ),
        (Subclassed, None, ["a"], lambda f: f["a"]),
        (Subclassed, None, ["a", "b"], lambda f: {"a": f["a"], "b": f["b"]}),
    ],
)
def test_features_find_their_inputs(
    make: Callable, names: list[str] | None, available: list[str], expected: Callable
) -> None:
    model, features = make(), _features(*available)

    assert input_names(model) == names
    adapted = feature_adapter(model, available)(features)

    tf.nest.assert_same_structure(adapted, expected(features))
    flat = zip(tf.nest.flatten(adapted), tf.nest.flatten(expected(features)), strict=True)
    assert all(own is other for own, other in flat)
    model(adapted)


@pytest.mark.parametrize("structure", [lambda: [_input("a"), _input("z")], lambda: _input("z")])
def test_an_input_without_a_feature_is_refused(structure: Callable) -> None:
    with pytest.raises(ConfigError, match=r"\['a', 'b'\].*\['z'\].*Name each keras.Input") as e:
        feature_adapter(_called_with(structure()), ["a", "b"])

    assert e.value.argument == "model_fn"


# Data for layers that are adapted.


def _normalized(context: ModelContext) -> keras.Model:
    image = keras.Input((8, 8, 1), name="image", dtype="uint8")
    normalization = keras.layers.Normalization(axis=None)
    normalization.adapt(context.dataset().map(lambda features, label: features["image"]))
    x = keras.layers.Flatten()(normalization(image))
    model = keras.Model(image, keras.layers.Dense(1)(x))
    model.compile("sgd", "mse")
    return model


def test_a_layer_is_adapted_to_the_training_examples(
    digit_files: list[str], digits_spec: dict[str, Any], digits: Any
) -> None:
    feed = FeedOptions(images={"image": Image(8, 8, 1)})
    context = ModelContext(digits_spec, feed, train_files=tuple(digit_files))

    model = make_model(_normalized, context)

    mean = float(np.squeeze(model.layers[1].mean))
    assert mean == pytest.approx(digits.images.mean(), rel=1e-5)


def test_the_dataset_yields_each_example_once(
    digit_files: list[str], digits_spec: dict[str, Any], digits: Any
) -> None:
    context = ModelContext(
        digits_spec, FeedOptions(weight_key="weight"), train_files=tuple(digit_files)
    )

    batches = list(context.dataset(batch_size=64))

    assert [len(label) for _, label, _ in batches] == [64, 64, 64, 8]
    ids = np.concatenate([features["id"] for features, _, _ in batches])
    labels = np.concatenate([label for _, label, _ in batches])
    assert sorted(ids) == list(range(200))
    np.testing.assert_array_equal(labels, digits.labels[ids])


def test_without_files_there_is_no_dataset() -> None:
    with pytest.raises(ConfigError, match=r"ModelContext\.dataset.*TFRecord"):
        CONTEXT.dataset()
