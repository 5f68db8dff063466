"""From serialized Examples to tensors: names checked, images decoded, weights flat."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser, decode_images

IMAGES = {"image": Image(8, 8, 1)}


@pytest.fixture
def serialized(digits: Any, serialize: Callable) -> tf.Tensor:
    return tf.constant([serialize(row) for row in digits.rows()[:5]])


def test_features_and_label(digits: Any, digits_spec: dict, serialized: tf.Tensor) -> None:
    features, label = ExampleParser(digits_spec, FeedOptions(images=IMAGES))(serialized)

    assert sorted(features) == ["id", "image", "weight"]
    assert features["image"].dtype == tf.uint8
    np.testing.assert_array_equal(features["image"], digits.images[:5])
    np.testing.assert_array_equal(features["id"], np.arange(5))
    np.testing.assert_array_equal(label, digits.labels[:5])


def test_an_image_is_decoded_as_label_too(
    digits: Any, digits_spec: dict, serialized: tf.Tensor
) -> None:
    feed = FeedOptions(images=IMAGES, label_key="image")

    features, label = ExampleParser(digits_spec, feed, model_features=["image"])(serialized)

    np.testing.assert_array_equal(label, digits.images[:5])
    np.testing.assert_array_equal(features["image"], label)


def test_a_label_without_other_features_is_the_input_too(
    digits: Any, digits_spec: dict, serialized: tf.Tensor
) -> None:
    feed = FeedOptions(images=IMAGES, label_key="image")

    features, label = ExampleParser({"image": digits_spec["image"]}, feed)(serialized)

    np.testing.assert_array_equal(label, digits.images[:5])
    np.testing.assert_array_equal(features["image"], label)


def test_weights_of_positions_keep_their_shape(serialize: Callable) -> None:
    rows = [{"words": [1, 2], "label": [0, 1], "weight": [0.5, 2.0]}] * 3
    spec = {key: tf.io.FixedLenFeature([2], tf.int64) for key in ("words", "label")}
    spec["weight"] = tf.io.FixedLenFeature([2], tf.float32)

    parser = ExampleParser(spec, FeedOptions(weight_key="weight"))
    _, _, weight = parser(tf.constant([serialize(row) for row in rows]))

    assert weight.numpy().tolist() == [[0.5, 2.0]] * 3


def test_the_weight_leaves_the_features(
    digits: Any, digits_spec: dict, serialized: tf.Tensor
) -> None:
    column = {**digits_spec, "weight": tf.io.FixedLenFeature([1], tf.float32)}
    for spec in (digits_spec, column):
        features, _, weight = ExampleParser(spec, FeedOptions(weight_key="weight"))(serialized)

        assert sorted(features) == ["id", "image"]
        np.testing.assert_array_equal(weight, digits.weights[:5])


def test_only_the_model_features_are_parsed(digits_spec: dict, serialized: tf.Tensor) -> None:
    spec = {**digits_spec, "absent": tf.io.FixedLenFeature([], tf.float32)}

    features, _ = ExampleParser(spec, FeedOptions(), model_features=["id"])(serialized)

    assert list(features) == ["id"]


@pytest.mark.parametrize(
    ("feed", "model_features", "argument", "received"),
    [
        (FeedOptions(label_key="species"), None, "feed label_key", "species"),
        (FeedOptions(weight_key="importance"), None, "feed weight_key", "importance"),
        (FeedOptions(images={"photo": Image(8, 8, 1)}), None, "feed images", "photo"),
        (FeedOptions(), ["pixels"], "model inputs", "pixels"),
    ],
)
def test_a_name_that_the_data_lacks_is_refused_with_those_it_has(
    digits_spec: dict, feed: FeedOptions, model_features: list | None, argument: str, received: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        ExampleParser(digits_spec, feed, model_features)

    assert caught.value.argument == argument
    assert caught.value.received == received
    assert "['id', 'image', 'label', 'weight']" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "feed"),
    [
        ("label", FeedOptions()),
        ("weight", FeedOptions(weight_key="weight")),
        ("image", FeedOptions(images=IMAGES)),
    ],
)
def test_what_must_be_dense_is_refused_when_it_varies_in_length(
    digits_spec: dict, key: str, feed: FeedOptions
) -> None:
    spec = {**digits_spec, key: tf.io.VarLenFeature(digits_spec[key].dtype)}

    with pytest.raises(ConfigError, match=f"{key}.*its shape in the schema"):
        ExampleParser(spec, feed)


def test_features_of_varying_length_stay_sparse(digits_spec: dict, serialize: Callable) -> None:
    spec = {"tags": tf.io.VarLenFeature(tf.string), "label": digits_spec["label"]}
    rows = [{"label": 1, "tags": ["a", "b"]}, {"label": 0}]
    parser = ExampleParser(spec, FeedOptions())

    features, _ = parser(tf.constant([serialize(row) for row in rows]))

    assert not parser.is_dense
    assert isinstance(features["tags"], tf.SparseTensor)
    assert features["tags"].dense_shape.numpy().tolist() == [2, 2]


@pytest.mark.parametrize("shape", [(5,), (5, 1)])
@pytest.mark.parametrize("encode", [tf.io.encode_png, tf.io.encode_jpeg])
def test_image_files_decode(digits: Any, encode: Callable, shape: tuple) -> None:
    files = tf.reshape(tf.stack([encode(image) for image in digits.images[:5]]), shape)

    decoded = decode_images(files, Image(8, 8, 1, "file"))

    assert decoded.dtype == tf.uint8
    tolerance = 0 if encode is tf.io.encode_png else 24
    np.testing.assert_allclose(
        decoded.numpy().astype(int), digits.images[:5].astype(int), atol=tolerance
    )


def test_image_files_of_any_size_and_colour_become_alike() -> None:
    grey = tf.io.encode_png(tf.fill([4, 6, 1], tf.constant(100, tf.uint8)))
    colour = tf.io.encode_jpeg(tf.fill([16, 16, 3], tf.constant(100, tf.uint8)), quality=100)

    decoded = decode_images(tf.stack([grey, colour]), Image(8, 8, 3, "file"))

    np.testing.assert_allclose(decoded, np.full([2, 8, 8, 3], 100), atol=1)


def test_a_raw_image_of_another_size_is_no_image() -> None:
    twice = tf.constant([bytes(128), bytes(128)])

    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_images(twice, Image(8, 8, 1))
