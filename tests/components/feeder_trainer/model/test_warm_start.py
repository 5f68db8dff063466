"""Starts from the weights of a trained model."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.model.warm_start import (
    KERAS_FILE,
    WEIGHTS_FILE,
    load_warm_start,
    save_for_warm_start,
)


def _network(
    units: int = 10,
    hidden: tuple[int, ...] = (4,),
    *,
    normalized: bool = False,
    optimizer: str = "adam",
) -> keras.Model:
    image = keras.Input((8, 8, 1), name="image", dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    for width in hidden:
        x = keras.layers.Dense(width, activation="relu")(x)
    if normalized:
        x = keras.layers.BatchNormalization(name="norm")(x)
    scores = keras.layers.Dense(units, activation="softmax", name="scores")(x)
    model = keras.Model(image, scores)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def _train(model: keras.Model) -> None:
    model.fit(np.ones((4, 8, 8, 1), np.uint8), np.zeros(4), verbose=0)


def _values(variables: Any) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable).copy() for variable in variables]


def _assert_equal(own: list[np.ndarray], other: list[np.ndarray]) -> None:
    for one, two in zip(own, other, strict=True):
        np.testing.assert_array_equal(one, two)


class Scaled(keras.Model):
    """A class with an argument and without ``get_config``: Keras cannot save it whole."""

    def __init__(self, layer: keras.layers.Layer) -> None:
        super().__init__()
        self.layer = layer

    def call(self, inputs: Any) -> Any:
        return self.layer(tf.cast(inputs, tf.float32))

    def get_config(self) -> Any:
        raise NotImplementedError


def test_a_start_takes_over_the_weights(tmp_path: Path) -> None:
    base, model = _network(), _network()

    assert save_for_warm_start(base, tmp_path) == tmp_path / KERAS_FILE
    assert load_warm_start(model, tmp_path) is None

    for own, other in zip(model.get_weights(), base.get_weights(), strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize("is_base_tuned", [False, True])
def test_low_rank_updates_are_trained_after_a_start(tmp_path: Path, is_base_tuned: bool) -> None:
    base, model = _low_rank(tune=is_base_tuned), _low_rank()
    x, y = np.eye(4, dtype="int64"), np.ones((4, 1))
    base.fit(x, y, verbose=0)
    save_for_warm_start(base, tmp_path)

    assert load_warm_start(model, tmp_path) is None

    np.testing.assert_allclose(model(x), base(x), rtol=1e-5)
    before = _values(model.trainable_variables)
    model.fit(x, y, epochs=2, verbose=0)
    factors = zip(model.trainable_variables, before, strict=True)
    assert len(before) == 6 + 2  # Two factors for each kernel, two biases.
    assert all(np.abs(variable.numpy() - value).max() > 0 for variable, value in factors)


def _low_rank(*, tune: bool = True) -> keras.Model:
    """Returns a model in which rank-one updates of three kernels are trained, or the kernels."""
    words = keras.Input((4,), dtype="int64")
    layers = [keras.layers.Embedding(3, 2), keras.layers.Conv1D(2, 2), keras.layers.Dense(1)]
    x = layers[1](layers[0](words))
    model = keras.Model(words, layers[2](keras.layers.Flatten()(x)))
    for layer in layers if tune else ():
        layer.enable_lora(1)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def test_a_class_without_config_is_saved_by_its_weights(tmp_path: Path) -> None:
    base, model = Scaled(keras.layers.Dense(2)), Scaled(keras.layers.Dense(2))
    for each in (base, model):
        each.compile("sgd", "mse")
        each(np.ones((1, 3)))

    assert save_for_warm_start(base, tmp_path) == tmp_path / WEIGHTS_FILE
    assert [path.name for path in tmp_path.iterdir()] == [WEIGHTS_FILE]
    assert load_warm_start(model, tmp_path) is None
    np.testing.assert_array_equal(model.get_weights()[0], base.get_weights()[0])


def test_what_keras_cannot_serialize_is_saved_by_its_weights(tmp_path: Path) -> None:
    loss = functools.partial(keras.losses.sparse_categorical_crossentropy, from_logits=True)
    base, model = _network(), _network()
    for each in (base, model):
        each.compile("sgd", loss)

    assert save_for_warm_start(base, tmp_path) == tmp_path / WEIGHTS_FILE
    assert load_warm_start(model, tmp_path) is None
    _assert_equal(model.get_weights(), base.get_weights())


@pytest.mark.parametrize("base_optimizer", ["adam", "sgd"])
def test_the_optimizer_stays_as_it_was(tmp_path: Path, base_optimizer: str) -> None:
    base, model = _network(optimizer=base_optimizer), _network()
    for each in (base, model):
        each.optimizer.build(each.trainable_variables)
    _train(base)
    before = _values(model.optimizer.variables)
    save_for_warm_start(base, tmp_path)

    assert load_warm_start(model, tmp_path) is None

    _assert_equal(_values(model.optimizer.variables), before)
    _assert_equal(model.get_weights(), base.get_weights())
    assert int(model.optimizer.iterations) == 0


class TwoOptimizers(keras.Model):
    """A model with an optimizer and a metric in its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = keras.layers.Dense(2)
        self.second_optimizer = keras.optimizers.Adam()
        self.tracker = keras.metrics.Mean()
        self.layer.build((None, 3))
        self.second_optimizer.build(self.layer.trainable_variables)

    def call(self, inputs: Any) -> Any:
        return self.layer(inputs)


def test_optimizers_and_metrics_of_the_model_itself_stay_as_they_were(tmp_path: Path) -> None:
    base, model = TwoOptimizers(), TwoOptimizers()
    for each in (base, model):
        each.compile("sgd", "mse")
        each(np.ones((1, 3)))
    gradients = [np.ones(v.shape) for v in base.layer.trainable_variables]
    base.second_optimizer.apply(gradients)
    base.tracker.update_state(5.0)
    save_for_warm_start(base, tmp_path)

    assert load_warm_start(model, tmp_path) is None

    _assert_equal(model.layer.get_weights(), base.layer.get_weights())
    assert int(model.second_optimizer.iterations) == 0
    assert float(model.tracker.result()) == 0


class InnerModels(keras.Model):
    """A model of two parts, each of which may be compiled with an optimizer of its own."""

    def __init__(self, optimizer: str | None) -> None:
        super().__init__()
        self.generator = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        self.critic = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        for part in (self.generator, self.critic) if optimizer else ():
            part.compile(optimizer, "mse")
            part.optimizer.build(part.trainable_variables)

    def call(self, inputs: Any) -> Any:
        return self.critic(self.generator(inputs))


@pytest.mark.parametrize("optimizer", ["adam", None])
def test_the_optimizers_of_inner_models_stay_as_they_were(
    tmp_path: Path, optimizer: str | None
) -> None:
    base, model = InnerModels("adam"), InnerModels(optimizer)
    for each in (base, model):
        each.compile("sgd", "mse")
        each(np.ones((1, 3)))
    base.generator.optimizer.apply([np.ones(v.shape) for v in base.generator.trainable_variables])
    save_for_warm_start(base, tmp_path)

    assert load_warm_start(model, tmp_path) is None

    _assert_equal(model.get_weights(), base.get_weights())
    if optimizer:
        assert int(model.generator.optimizer.iterations) == 0


def _towers(*names: str) -> keras.Model:
    inputs = {name: keras.Input((4,), name=name) for name in names}
    towers = {name: keras.layers.Dense(2, name=f"{name}_tower")(inputs[name]) for name in names}
    model = keras.Model(list(inputs.values()), keras.layers.Concatenate()(list(towers.values())))
    model.compile("sgd", "mse")
    return model


def test_named_layers_that_have_changed_places_are_reported(tmp_path: Path) -> None:
    save_for_warm_start(_towers("user", "item"), tmp_path)

    assert load_warm_start(_towers("user", "item"), tmp_path) is None
    assert load_warm_start(_towers("customer", "product"), tmp_path) is None
    obstacle = load_warm_start(_towers("item", "user"), tmp_path)

    assert obstacle == (
        "its architecture differs: the layer user_tower is layers/dense in the base model and "
        "layers/dense_1 in this model"
    )


def _colors(vocabulary: list[str], *, adapted: bool) -> keras.Model:
    color = keras.Input((), dtype="string")
    lookup = keras.layers.StringLookup(vocabulary=None if adapted else vocabulary)
    if adapted:
        lookup.adapt([word for n, word in enumerate(vocabulary) for _ in range(9 - n)])
    model = keras.Model(color, keras.layers.Embedding(4, 2)(lookup(color)))
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("adapted", [True, False])
def test_another_vocabulary_is_reported(tmp_path: Path, adapted: bool) -> None:
    base = _colors(["red", "green", "blue"], adapted=adapted)
    save_for_warm_start(base, tmp_path)
    same = _colors(["red", "green", "blue"], adapted=adapted)
    other = _colors(["red", "blue", "green"], adapted=adapted)

    assert load_warm_start(same, tmp_path) is None
    obstacle = load_warm_start(other, tmp_path)

    assert obstacle is not None
    assert "of the vocabulary of the layer" in obstacle
    assert "is 'green' in the base model and 'blue' in this model" in obstacle
    _assert_equal(same.get_weights(), base.get_weights())
    assert not np.array_equal(other.get_weights()[0], base.get_weights()[0])


@pytest.mark.parametrize(
    ("other", "first_difference"),
    [
        (
            lambda: _network(units=7),
            "layers/dense_1/vars/0 (layer scores) has the shape (4, 10) in the base model and "
            "(4, 7) in this model",
        ),
        (
            lambda: _network(hidden=(4, 4)),
            "has the shape (4, 10) in the base model and (4, 4) in this model",
        ),
        (lambda: _network(hidden=()), "layers/dense/vars/0 (layer scores) has the shape (64, 4)"),
        (lambda: _network(hidden=(5,)), "(64, 4) in the base model and (64, 5) in this model"),
        (
            lambda: _network(normalized=True),
            "only this model has layers/batch_normalization/vars/0 (layer norm), of the shape (4,)",
        ),
    ],
)
def test_another_architecture_is_reported_and_changes_nothing(
    tmp_path: Path, other: Callable[[], keras.Model], first_difference: str
) -> None:
    base = _network()
    _train(base)
    save_for_warm_start(base, tmp_path)
    model = other()
    _train(model)
    before = _values([*model.variables, *model.optimizer.variables])

    obstacle = load_warm_start(model, tmp_path)

    assert obstacle is not None
    assert obstacle.startswith("its architecture differs: ")
    assert first_difference in obstacle
    _assert_equal(_values([*model.variables, *model.optimizer.variables]), before)


def test_what_only_the_base_model_has_is_reported(tmp_path: Path) -> None:
    save_for_warm_start(_network(normalized=True), tmp_path)

    obstacle = load_warm_start(_network(), tmp_path)

    assert obstacle is not None
    assert "only the base model has layers/batch_normalization/vars/0 (layer norm)" in obstacle


def test_a_bfloat16_model_is_started_from(tmp_path: Path) -> None:
    keras.config.set_dtype_policy("bfloat16")
    try:
        base, model = _network(), _network()
    finally:
        keras.config.set_dtype_policy("float32")
    save_for_warm_start(base, tmp_path)

    assert load_warm_start(model, tmp_path) is None
    _assert_equal(_values(model.variables), _values(base.variables))


def test_a_folder_without_a_model_is_reported(tmp_path: Path) -> None:
    obstacle = load_warm_start(_network(), tmp_path)

    assert obstacle is not None
    assert KERAS_FILE in obstacle


def test_a_damaged_file_is_reported_and_changes_nothing(tmp_path: Path) -> None:
    path = save_for_warm_start(_network(), tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    model = _network()
    before = model.get_weights()

    assert load_warm_start(model, tmp_path) is not None
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
