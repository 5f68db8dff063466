"""The exported model: raw Examples in, the model's own predictions out; and starts from it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser
from tfx_feeder.components.feeder_trainer.model.builder import feature_adapter
from tfx_feeder.components.feeder_trainer.model.export import (
    KERAS_FILE,
    WEIGHTS_FILE,
    export_serving,
    load_warm_start,
    save_for_warm_start,
)


def _network(units: int = 10, hidden: tuple[int, ...] = (4,)) -> keras.Model:
    image = keras.Input((8, 8, 1), name="image", dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    for width in hidden:
        x = keras.layers.Dense(width, activation="relu")(x)
    model = keras.Model(image, keras.layers.Dense(units, activation="softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


class Scaled(keras.Model):
    """A class with an argument and without ``get_config``: Keras cannot save it whole."""

    def __init__(self, layer: keras.layers.Layer) -> None:
        super().__init__()
        self.layer = layer

    def call(self, inputs: Any) -> Any:
        return self.layer(tf.cast(inputs, tf.float32))

    def get_config(self) -> Any:
        raise NotImplementedError


@pytest.fixture(scope="module")
def exported(digits_spec: dict, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A model, and the same exported and loaded."""
    model = _network()
    parser = ExampleParser(digits_spec, FeedOptions(images={"image": Image(8, 8, 1)}), ["image"])
    adapt = feature_adapter(model, parser.feature_names)

    def to_inputs(serialized: tf.Tensor) -> Any:
        parsed = tf.io.parse_example(serialized, {"image": digits_spec["image"]})
        return adapt(parser.decode(parsed))

    folder = str(tmp_path_factory.mktemp("serving"))
    export_serving(model, to_inputs, folder)
    return model, tf.saved_model.load(folder)


@pytest.mark.parametrize("count", [1, 3])
def test_raw_examples_without_a_label_get_the_models_own_predictions(
    exported: tuple, digits: Any, serialize: Callable, count: int
) -> None:
    model, loaded = exported
    rows = [{"image": row["image"]} for row in digits.rows()[:count]]

    (served,) = loaded.signatures["serving_default"](
        examples=tf.constant([serialize(row) for row in rows])
    ).values()

    expected = model(digits.images[:count], training=False)
    np.testing.assert_allclose(served, expected, rtol=1e-5)


def test_tensors_get_the_models_own_predictions(exported: tuple, digits: Any) -> None:
    model, loaded = exported
    images = tf.constant(digits.images[:5])

    (served,) = loaded.signatures["predict"](image=images).values()

    np.testing.assert_allclose(served, model(images, training=False), rtol=1e-5)


@pytest.mark.parametrize("structure", [list, dict])
def test_the_predict_signature_names_each_input(tmp_path: Path, structure: type) -> None:
    inputs = {"left": keras.Input((2,), name="l"), "right": keras.Input((3,), name="r")}
    joined = keras.layers.Concatenate()(list(inputs.values()))
    model = keras.Model(
        inputs if structure is dict else list(inputs.values()), keras.layers.Dense(1)(joined)
    )
    tensors = [tf.ones([4, 2]), tf.ones([4, 3])]
    names = ["left", "right"] if structure is dict else ["l", "r"]
    called = dict(zip(names, tensors, strict=True)) if structure is dict else tensors

    export_serving(model, lambda _: called, str(tmp_path))
    predict = tf.saved_model.load(str(tmp_path)).signatures["predict"]

    (served,) = predict(**dict(zip(names, tensors, strict=True))).values()
    np.testing.assert_allclose(served, model(called), rtol=1e-5)


def test_a_start_takes_over_the_weights(tmp_path: Path) -> None:
    base, model = _network(), _network()

    assert save_for_warm_start(base, tmp_path) == tmp_path / KERAS_FILE
    assert load_warm_start(model, tmp_path) is None

    for own, other in zip(model.get_weights(), base.get_weights(), strict=True):
        np.testing.assert_array_equal(own, other)


def test_a_class_without_config_is_saved_by_its_weights(tmp_path: Path) -> None:
    base, model = Scaled(keras.layers.Dense(2)), Scaled(keras.layers.Dense(2))
    for each in (base, model):
        each.compile("sgd", "mse")
        each(np.ones((1, 3)))

    assert save_for_warm_start(base, tmp_path) == tmp_path / WEIGHTS_FILE
    assert [path.name for path in tmp_path.iterdir()] == [WEIGHTS_FILE]
    assert load_warm_start(model, tmp_path) is None
    np.testing.assert_array_equal(model.get_weights()[0], base.get_weights()[0])


@pytest.mark.parametrize(
    "other",
    [
        lambda: _network(units=7),
        lambda: _network(hidden=(4, 4)),
        lambda: _network(hidden=()),
        lambda: _network(hidden=(5,)),
    ],
)
def test_another_architecture_is_reported_and_changes_nothing(
    tmp_path: Path, other: Callable[[], keras.Model]
) -> None:
    save_for_warm_start(_network(), tmp_path)
    model = other()
    before = model.get_weights()

    obstacle = load_warm_start(model, tmp_path)

    assert obstacle is not None
    assert "architecture differs" in obstacle
    for own, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(own, old)


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
