"""The exported model: raw Examples in, the model's own predictions out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser
from tfx_feeder.components.feeder_trainer.model.builder import feature_adapter
from tfx_feeder.components.feeder_trainer.model.export import (
    RawExamples,
    check_outputs,
    check_signatures,
    export_serving,
)


def _network(units: int = 10, hidden: tuple[int, ...] = (4,)) -> keras.Model:
    image = keras.Input((8, 8, 1), name="image", dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    for width in hidden:
        x = keras.layers.Dense(width, activation="relu")(x)
    model = keras.Model(image, keras.layers.Dense(units, activation="softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


@pytest.fixture(scope="module")
def exported(digits_spec: dict, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A model, and the same exported and loaded."""
    model = _network()
    parser = ExampleParser(digits_spec, FeedOptions(images={"image": Image(8, 8, 1)}), ["image"])
    adapt = feature_adapter(model, parser.feature_names)

    folder = str(tmp_path_factory.mktemp("serving"))
    export_serving(model, RawExamples(digits_spec, None, parser, adapt), folder)
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

    (served,) = loaded.signatures["serving_tensors"](image=images).values()

    np.testing.assert_allclose(served, model(images, training=False), rtol=1e-5)


def test_there_are_no_other_signatures(exported: tuple) -> None:
    _, loaded = exported

    assert set(loaded.signatures) == {"serving_default", "serving_tensors"}


SPEC = {
    "city": tf.io.VarLenFeature(tf.string),
    "hour": tf.io.FixedLenFeature([], tf.int64),
    "label": tf.io.FixedLenFeature([], tf.int64),
    "words": tf.io.RaggedFeature(tf.int64),
}


class Shop(keras.Model):
    """Takes a sparse, a dense and a ragged feature and does not declare them."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        cities = tf.sparse.reduce_sum(
            tf.SparseTensor(
                inputs["city"].indices,
                tf.strings.to_hash_bucket_fast(inputs["city"].values, 7),
                inputs["city"].dense_shape,
            ),
            1,
        )
        words = tf.reduce_sum(inputs["words"], 1)
        columns = [cities, tf.cast(inputs["hour"], tf.int64), words]
        return self.dense(tf.cast(tf.stack(columns, 1), tf.float32))


class Doubled(tf.Module):
    """A transform with a label; features of other names."""

    def __call__(self, features: dict[str, Any]) -> dict[str, Any]:
        outputs = {"hour_xf": 2 * features["hour"]} if "hour" in features else {}
        if "label" in features:
            outputs["label_xf"] = 1 - features["label"]
        kept = {name: features[name] for name in ("city", "words") if name in features}
        return {**outputs, **kept}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, serialize: Callable) -> tuple[Any, ...]:
    """A model on sparse and ragged features, its features, requests, and the loaded export."""
    model, folder = Shop(), str(tmp_path_factory.mktemp("shop"))
    spec = {name: SPEC[name] for name in ("city", "words")} | {
        "hour_xf": SPEC["hour"],
        "label_xf": SPEC["label"],
    }
    parser = ExampleParser(spec, FeedOptions(label_key="label_xf"))
    rows = [{"city": ["a", "b"], "hour": 3, "words": [1, 2]}, {"hour": 4}]
    requests = tf.constant([serialize(row) for row in rows])
    features = tf.io.parse_example(requests, {key: SPEC[key] for key in ("city", "words")})
    features["hour"] = tf.constant([6, 8], tf.int64)
    model(features)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def sign(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sign": tf.sign(model(raw.to_model_inputs(examples)))}

    def adapt(features: Any) -> Any:
        return {**features, "hour": features["hour_xf"]}

    raw = RawExamples(SPEC, Doubled(), parser, adapt)
    export_serving(model, raw, folder, check_signatures({"sign": sign}))
    return model, features, requests, tf.saved_model.load(folder)


def test_sparse_and_ragged_features_reach_a_model_from_examples_and_as_tensors(shop: tuple) -> None:
    model, features, requests, loaded = shop
    city, words = features["city"], features["words"]

    (served,) = loaded.signatures["serving_default"](examples=requests).values()
    (by_tensors,) = loaded.signatures["serving_tensors"](
        city_indices=city.indices,
        city_values=city.values,
        city_dense_shape=city.dense_shape,
        hour_xf=features["hour"],
        words_values=words.values,
        words_row_splits=words.row_splits,
    ).values()

    np.testing.assert_allclose(served, model(features), rtol=1e-6)
    np.testing.assert_allclose(by_tensors, model(features), rtol=1e-6)


def test_the_transformed_features_hold_the_label(shop: tuple, serialize: Callable) -> None:
    *_, loaded = shop
    row = serialize({"city": "a", "hour": 3, "words": [1, 2], "label": 0})

    transformed = loaded.signatures["transform_features"](examples=tf.constant([row]))

    assert set(transformed) == {"city", "hour_xf", "label_xf", "words"}
    assert transformed["label_xf"].numpy().tolist() == [1]
    assert transformed["hour_xf"].numpy().tolist() == [6]


def test_a_signature_of_the_user_is_exported(shop: tuple) -> None:
    model, features, requests, loaded = shop

    signs = loaded.signatures["sign"](examples=requests)["sign"]

    np.testing.assert_array_equal(signs, np.sign(model(features)))


@pytest.mark.parametrize(
    "signatures", [None, [], {"a": len}, {"a": tf.function(len)}, {3: tf.function(len)}]
)
def test_what_cannot_be_exported_is_refused(signatures: Any) -> None:
    with pytest.raises(ConfigError, match=r"signatures_fn.*input_signature"):
        check_signatures(signatures)


def test_tensors_take_the_types_of_the_examples(tmp_path: Path) -> None:
    hour = keras.Input((1,), name="hour", dtype="int32")
    model = keras.Model(hour, keras.layers.Dense(1)(keras.ops.cast(hour, "float32")))
    parser = ExampleParser(SPEC, FeedOptions(), ["hour"])
    export_serving(
        model, RawExamples(SPEC, None, parser, feature_adapter(model, ["hour"])), str(tmp_path)
    )

    serve = tf.saved_model.load(str(tmp_path)).signatures["serving_tensors"]

    assert serve.structured_input_signature[1]["hour"].dtype == tf.int64
    (served,) = serve(hour=tf.constant([3, 4], tf.int64)).values()
    np.testing.assert_allclose(served, model(np.array([[3], [4]])), rtol=1e-6)


@pytest.mark.parametrize(
    ("names", "inputs"),
    [(("working-hours", "a b"), {"working_hours", "a_b"}), (("a-b", "a_b"), None)],
    ids=["replaced", "equal"],
)
def test_names_that_a_signature_cannot_hold(
    tmp_path: Path, names: tuple[str, ...], inputs: set[str] | None
) -> None:
    layers = {name: keras.Input((1,), name=name) for name in names}
    x = keras.layers.Concatenate()(list(layers.values()))
    model = keras.Model(layers, keras.layers.Dense(1)(x))
    spec = dict.fromkeys(names, tf.io.FixedLenFeature([], tf.float32))
    parser = ExampleParser(spec, FeedOptions(label_key=None))
    adapt = feature_adapter(model, list(names))

    export_serving(model, RawExamples(spec, None, parser, adapt), str(tmp_path))

    signatures = tf.saved_model.load(str(tmp_path)).signatures
    assert "serving_default" in signatures
    tensors = signatures.get("serving_tensors")
    assert (tensors and set(tensors.structured_input_signature[1])) == inputs


def test_outputs_that_a_signature_cannot_return_are_refused() -> None:
    tensor, replaced = tf.ones([2, 1]), dict.fromkeys(("serving_default", "serving_tensors"))
    for outputs in (tensor, [tensor, tensor], {"a": tensor}):
        check_outputs(outputs, None)
    check_outputs({"a": [tensor]}, replaced)
    for outputs in ({"a": [tensor]}, {"a": {"b": tensor}}, [tensor, None]):
        with pytest.raises(ConfigError, match=r"exported.*outputs hold a"):
            check_outputs(outputs, {"classify": None})
