"""Real files for the tests of the feed: small images, numbered to tell them apart; a model."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser

SHAPE = (4, 4, 3)


def example(number: int, **replaced: Any) -> bytes:
    """A serialized Example: a raw image filled with ``number % 251``, and ``number`` as label."""
    values = {"image": np.full(SHAPE, number % 251, np.uint8).tobytes(), "label": number}
    values.update(replaced)
    features = {
        key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if isinstance(value, bytes)
        else tf.train.Feature(int64_list=tf.train.Int64List(value=np.ravel(value)))
        for key, value in values.items()
        if value is not None
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


@pytest.fixture(scope="session")
def make_example() -> Callable[..., bytes]:
    return example


@pytest.fixture
def write_records(tmp_path: Path) -> Callable[..., str]:
    """Writes records to a TFRecord file and returns its path."""

    def write(records: Iterable[bytes], name: str = "data.gz", compression: str = "GZIP") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tf.io.TFRecordWriter(str(path), compression) as writer:
            for record in records:
                writer.write(record)
        return str(path)

    return write


@pytest.fixture
def write_examples(write_records: Callable[..., str]) -> Callable[..., list[str]]:
    """Writes Examples of the given numbers, dealt out to some files, and returns their paths."""

    def write(numbers: range, files: int = 3, folder: str = "split") -> list[str]:
        return [
            write_records(
                [example(number) for number in numbers[index::files]], f"{folder}/data-{index}.gz"
            )
            for index in range(files)
        ]

    return write


@pytest.fixture(scope="session")
def make_parser() -> Callable[..., ExampleParser]:
    """Makes a parser for the Examples of ``example``, with feed options given by name."""

    def make(**options: Any) -> ExampleParser:
        spec = {
            "image": tf.io.FixedLenFeature([], tf.string),
            "label": tf.io.FixedLenFeature([], tf.int64),
        }
        return ExampleParser(spec, FeedOptions(images={"image": Image(*SHAPE)}, **options))

    return make


@pytest.fixture(scope="session")
def labels_of() -> Callable[..., list[int]]:
    """Returns the labels of batches, which number the examples; checks each image against them."""

    def labels(batches: Iterable[Any]) -> list[int]:
        return list(_checked_labels(batches))

    return labels


def _checked_labels(batches: Iterable[Any]) -> Iterator[int]:
    for features, label in batches:
        expected = np.broadcast_to((label.numpy() % 251)[:, None, None, None], (len(label), *SHAPE))
        np.testing.assert_array_equal(features["image"].numpy(), expected)
        yield from label.numpy().tolist()


class Digits(NamedTuple):
    """Handwritten digits: uint8 ``[200, 8, 8, 1]``, int64 ``[200]``, float32 ``[200]``."""

    images: np.ndarray
    labels: np.ndarray
    weights: np.ndarray

    def rows(self) -> list[dict[str, Any]]:
        """Returns the features of each Example; ``id`` is its place."""
        return [
            {"image": image.tobytes(), "label": int(label), "weight": float(weight), "id": index}
            for index, (image, label, weight) in enumerate(zip(*self, strict=True))
        ]


@pytest.fixture(scope="session")
def digits() -> Digits:
    """The first 200 digits of scikit-learn's set, with weights between 0.5 and 2."""
    data = load_digits()
    images = np.minimum(data.images[:200] * 16, 255).astype(np.uint8)[..., np.newaxis]
    weights = np.random.default_rng(0).uniform(0.5, 2, 200).astype(np.float32)
    return Digits(images, data.target[:200].astype(np.int64), weights)


@pytest.fixture(scope="session")
def digits_spec() -> dict[str, Any]:
    """The feature spec of ``Digits.rows``."""
    return {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
        "weight": tf.io.FixedLenFeature([], tf.float32),
        "id": tf.io.FixedLenFeature([], tf.int64),
    }


@pytest.fixture(scope="session")
def serialize() -> Callable[[Mapping[str, Any]], bytes]:
    """Turns int, float, str, bytes or lists of them, by feature, into a serialized Example."""

    def feature(value: Any) -> tf.train.Feature:
        values = list(value) if isinstance(value, (list, tuple)) else [value]
        if all(isinstance(v, int) for v in values):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        if all(isinstance(v, float) for v in values):
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        encoded = [v.encode() if isinstance(v, str) else v for v in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))

    def serialize_row(row: Mapping[str, Any]) -> bytes:
        features = {key: feature(value) for key, value in row.items()}
        return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()

    return serialize_row


@pytest.fixture(scope="session")
def write_files(
    tmp_path_factory: pytest.TempPathFactory, serialize: Callable[[Mapping[str, Any]], bytes]
) -> Callable[..., list[str]]:
    """Deals rows, or records as they are, out to TFRecord files; returns their paths."""

    def write(
        rows: Sequence[Mapping[str, Any] | bytes], *, files: int = 1, gzip: bool = True
    ) -> list[str]:
        folder = tmp_path_factory.mktemp("records")
        paths = []
        for index in range(files):
            path = folder / f"data_tfrecord-{index:05d}-of-{files:05d}{'.gz' if gzip else ''}"
            with tf.io.TFRecordWriter(str(path), "GZIP" if gzip else "") as writer:
                for row in rows[index::files]:
                    writer.write(row if isinstance(row, bytes) else serialize(row))
            paths.append(str(path))
        return paths

    return write


@pytest.fixture(scope="session")
def digit_files(digits: Digits, write_files: Callable[..., list[str]]) -> list[str]:
    """The digits in three gzipped files."""
    return write_files(digits.rows(), files=3)


@pytest.fixture
def model() -> keras.Model:
    """A small classifier of vectors of 8, compiled."""
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    return model
