"""Images: augmentation, images as targets, segmentation."""

import keras
import numpy as np
import tensorflow as tf

from tests.components.feeder_trainer.parity.cases.case import (
    BY_PART,
    WHOLE_BATCHES,
    Case,
    Row,
    dense,
)
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image

IMAGE_FEED = FeedOptions(images={"image": Image(4, 4, 1)}, cache="none")


def _pixels(random: np.random.Generator) -> bytes:
    return random.integers(0, 256, (4, 4, 1), np.uint8).tobytes()


def _image() -> keras.Model:
    image = keras.Input((4, 4, 1), name="image", dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.RandomFlip(seed=3)(keras.layers.RandomContrast(0.2, seed=4)(x))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(2, 3)(x))
    x = keras.layers.Dropout(0.2, seed=5)(keras.layers.Flatten()(x))
    model = keras.Model(image, keras.layers.Dense(3)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
    return model


def _image_row(random: np.random.Generator) -> Row:
    return {"image": _pixels(random), "label": int(random.integers(3))}


def _colorizer() -> keras.Model:
    image = keras.Input((4, 4, 1), name="image", dtype="uint8")
    x = keras.layers.Conv2D(3, 3, padding="same")(keras.layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, keras.layers.Rescaling(255)(x))
    model.compile(keras.optimizers.SGD(1e-5), "mse", metrics=["mae"])
    return model


def _colorizer_row(random: np.random.Generator) -> Row:
    return {"image": _pixels(random), "colored": random.integers(0, 256, 48, np.uint8).tobytes()}


def _denoiser() -> keras.Model:
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(1, 3, padding="same")]
    model = keras.Sequential([*layers, keras.layers.Rescaling(255)])
    model.compile(keras.optimizers.SGD(1e-5), "mse")
    return model


def _segmentation() -> keras.Model:
    image = keras.Input((4, 4, 1), name="image", dtype="uint8")
    x = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid")(
        keras.layers.Rescaling(1 / 255)(image)
    )
    model = keras.Model(image, x)
    model.compile(keras.optimizers.SGD(0.5), keras.losses.Dice())
    return model


def _segmentation_row(random: np.random.Generator) -> Row:
    return {"image": _pixels(random), "label": random.integers(0, 2, 16).astype(float).tolist()}


CASES: dict[str, Case] = {
    "images, augmentation, BatchNormalization": Case(
        _image,
        _image_row,
        {"image": dense(dtype=tf.string), "label": dense(dtype=tf.int64)},
        IMAGE_FEED,
        BY_PART,
    ),
    "image to image": Case(
        _colorizer,
        _colorizer_row,
        {"image": dense(dtype=tf.string), "colored": dense(dtype=tf.string)},
        FeedOptions(
            label_key="colored",
            images={"image": Image(4, 4, 1), "colored": Image(4, 4, 3)},
            cache="none",
        ),
    ),
    "image that is its own target": Case(
        _denoiser,
        lambda random: {"image": _pixels(random)},
        {"image": dense(dtype=tf.string)},
        FeedOptions(label_key="image", images={"image": Image(4, 4, 1)}, cache="none"),
    ),
    "segmentation, Dice loss": Case(
        _segmentation,
        _segmentation_row,
        {
            "image": dense(dtype=tf.string),
            "label": tf.io.FixedLenFeature([4, 4, 1], tf.float32),
        },
        IMAGE_FEED,
        WHOLE_BATCHES,
    ),
}
