"""The task of the training benchmarks: real images as TFX stores them, and the reference CNN."""

import gzip
import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image
from tfx_feeder.components.feeder_trainer.model.builder import ModelContext, make_model
from tfx_feeder.pipeline import model

SHAPE = (32, 32, 3)
FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.int64),
}
SEED = 0
DATA = ("digits", "fashion_mnist")
_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts it."""
_FIRST_EVAL_DIGIT = 1287
"""The last four of the fourteen forms of scikit-learn's digits: writers never trained on."""
_SHARD = 10_000

Arrays = tuple[np.ndarray, np.ndarray]

# Keras warns of shapes at every new batch size of its own fit().
logging.getLogger("tensorflow").setLevel(logging.ERROR)


def write_records(data: str, folder: Path, *, encoding: str = "raw") -> None:
    """Writes ``train-*.gz`` and ``eval-*.gz``: gzipped TFRecords of tf.Example.

    Args:
        data: One of ``DATA``.
        folder: Must exist.
        encoding: ``"raw"`` for uint8 ``[32, 32, 3]``, ``"file"`` for PNG files of it.

    Raises:
        FileNotFoundError: Fashion-MNIST is not installed.
    """
    for split, (images, labels) in load(data).items():
        for first in range(0, len(images), _SHARD):
            path = folder / f"{split}-{first // _SHARD:05d}.gz"
            with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
                part = slice(first, first + _SHARD)
                for image, label in zip(images[part], labels[part], strict=True):
                    writer.write(_example(image, int(label), encoding))


def load(data: str) -> dict[str, Arrays]:
    """Returns the images uint8 ``[examples, 32, 32, 3]`` and the labels of each split.

    Args:
        data: One of ``DATA``.

    Raises:
        FileNotFoundError: Fashion-MNIST is not installed.
    """
    return {"digits": _digits, "fashion_mnist": _fashion_mnist}[data]()


def example(image: bytes, **integers: int) -> bytes:
    """Returns a serialized tf.Example with the contents of an image and further features."""
    features = {"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))}
    for name, value in integers.items():
        features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def files(folder: Path, split: str) -> list[str]:
    """Returns the paths of a split that ``write_records`` wrote."""
    return sorted(str(path) for path in folder.glob(f"{split}-*.gz"))


def feed_options(*, encoding: str = "raw", cache: str = "auto") -> FeedOptions:
    """Returns FeederTrainer's options for these records."""
    return FeedOptions(images={"image": Image(*SHAPE, encoding=encoding)}, cache=cache, seed=SEED)


def create_model(seed: int = SEED) -> keras.Model:
    """Returns the reference CNN, compiled; the same seed gives the same weights."""
    custom_config = {"num_classes": 10, "seed": seed}
    context = ModelContext(FEATURES, feed_options(), custom_config=custom_config)
    return make_model(model.create_model, context)


def compile_again(model: keras.Model, learning_rate: float, **options: Any) -> None:
    """Compiles the reference CNN as it was, but with a new optimizer.

    Args:
        model: Of ``create_model``.
        learning_rate: Of the new optimizer.
        **options: Further ones of ``compile()``.
    """
    model.compile(
        optimizer=keras.optimizers.SGD(learning_rate, momentum=0.9),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        **options,
    )


def _digits() -> dict[str, Arrays]:
    digits = load_digits()
    large = tf.image.resize(digits.images[..., None] * (255 / 16), SHAPE[:2]).numpy()
    images = np.round(large.clip(0, 255)).astype(np.uint8).repeat(3, axis=-1)
    cut = _FIRST_EVAL_DIGIT
    return {
        "train": (images[:cut], digits.target[:cut]),
        "eval": (images[cut:], digits.target[cut:]),
    }


def _fashion_mnist() -> dict[str, Arrays]:
    def idx(name: str, offset: int) -> np.ndarray:
        return np.frombuffer(gzip.open(_FASHION_MNIST / name).read(), np.uint8, offset=offset)

    def split(prefix: str) -> Arrays:
        grey = idx(f"{prefix}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1)
        images = np.pad(grey, [(0, 0), (2, 2), (2, 2), (0, 0)]).repeat(3, axis=-1)
        return images, idx(f"{prefix}-labels-idx1-ubyte.gz", 8)

    return {"train": split("train"), "eval": split("t10k")}


def _example(image: np.ndarray, label: int, encoding: str) -> bytes:
    content = image.tobytes() if encoding == "raw" else tf.io.encode_png(image).numpy()
    return example(content, label=label)
