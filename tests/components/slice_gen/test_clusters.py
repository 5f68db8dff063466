"""Clusters of a model's embedding: slices that pictures show."""

from collections import Counter
from pathlib import Path

import apache_beam as beam
import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.slice_gen.embedding import Embedding
from tfx_feeder.components.slice_gen.generate import Generated, generate
from tfx_feeder.components.slice_gen.inputs import Inputs
from tfx_feeder.components.slice_gen.options import ClusterOptions, SliceGenOptions
from tfx_feeder.schemas.slices import SLICES_FEATURE
from tfx_feeder.schemas.statistics import FeatureStatistics, SplitStatistics

SIZE = 60
SHADES = (20, 120, 230)
CLUSTERS = ClusterOptions(count=3, thumbnails=4)


def _examples() -> list[tf.train.Example]:
    """Returns images of three shades, the last one rarest; the first image is damaged."""
    random, examples = np.random.default_rng(0), []
    for number in range(SIZE):
        shade = SHADES[0 if number < 30 else 1 if number < 50 else 2]
        pixels = (shade + random.integers(-9, 9, (4, 4, 1))).astype(np.uint8)
        made = tf.train.Example()
        encoded = tf.io.encode_png(pixels).numpy()
        made.features.feature["image"].bytes_list.value.append(encoded)
        made.features.feature["number"].int64_list.value.append(number)
        examples.append(made)
    examples[0].features.feature["image"].bytes_list.value[0] = b"no image"
    return examples


def _save(folder: Path, model: keras.Model, table: tf.lookup.StaticHashTable) -> str:
    def serve(examples: tf.Tensor) -> tf.Tensor:
        spec = {"image": tf.io.FixedLenFeature([], tf.string)}
        encoded = tf.io.parse_example(examples, spec)["image"]
        pixels = tf.map_fn(
            lambda image: tf.ensure_shape(tf.io.decode_png(image, 1), (4, 4, 1)),
            encoded,
            fn_output_signature=tf.TensorSpec((4, 4, 1), tf.uint8),
        )
        known = tf.cast(table.lookup(encoded), tf.float32)[:, None]
        return model(tf.cast(pixels, tf.float32) / 255) + 0 * known

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.track(table)
    signature = [tf.TensorSpec([None], tf.string, name="examples")]
    archive.add_endpoint("serving_default", serve, signature)
    archive.write_out(str(folder))
    return str(folder)


@pytest.fixture(scope="module")
def table() -> tf.lookup.StaticHashTable:
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1]), 0)


@pytest.fixture(scope="module")
def layers() -> tuple[keras.Model, keras.Model]:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 1))
    hidden = keras.layers.Conv2D(3, 2, activation="relu")(inputs)
    hidden = keras.layers.Dense(5, activation="relu")(keras.layers.Flatten()(hidden))
    outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.Dropout(0.5)(hidden))
    model = keras.Model(inputs, outputs)
    # Every dimension grows with the brightness.
    model.set_weights([np.abs(weights) for weights in model.get_weights()])
    return model, keras.Model(inputs, hidden)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, layers, table) -> str:
    return _save(tmp_path_factory.mktemp("model") / "saved", layers[0], table)


def _generate(folder: Path, model: str, features: tuple[str, ...] = ()) -> Generated:
    (folder / "in").mkdir()
    with tf.io.TFRecordWriter(str(folder / "in/data")) as writer:
        for example in _examples():
            writer.write(example.SerializeToString(deterministic=True))
    statistics = SplitStatistics("eval", SIZE, (FeatureStatistics("image", "bytes", 0),))
    return generate(
        beam.Pipeline,
        Inputs((str(folder / "in"),), statistics, ("image", "number", *features), model=model),
        SliceGenOptions(image_feature="image", clusters=CLUSTERS),
        outputs={"eval": str(folder / "eval/data")},
        temporary=str(folder / "temporary"),
    )


def test_the_embedding_is_the_input_of_the_last_dense_layer(model: str, layers) -> None:
    serialized = [example.SerializeToString() for example in _examples()]
    found = Embedding(model, "serving_default")(serialized)
    images = [e.features.feature["image"].bytes_list.value[0] for e in _examples()[1:]]
    pixels = np.stack([tf.io.decode_png(image, 1).numpy() for image in images]) / 255
    assert np.isnan(found[0]).all()
    assert found[1:] == pytest.approx(layers[1](pixels).numpy(), abs=1e-5)


def test_clusters_are_slices_with_pictures(tmp_path: Path, model: str) -> None:
    made = _generate(tmp_path, model)
    sizes = {found.name: found.examples for found in made.slices.slices}
    assert sizes == {
        "split eval": 60,
        "cluster 1": 29,
        "cluster 2": 20,
        "cluster 3": 10,
        "cluster (missing)": 1,
    }
    paths = list(map(str, (tmp_path / "eval").glob("*.gz")))
    written = [
        tf.train.Example.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(paths, "GZIP")
    ]
    named = Counter(e.features.feature[SLICES_FEATURE].bytes_list.value[0] for e in written)
    assert named[b"cluster 3"] == 10
    assert {frozenset(e.features.feature) for e in written} == {
        frozenset({"image", "number", SLICES_FEATURE})
    }
    assert set(made.strips) == {"cluster 1", "cluster 2", "cluster 3"}
    for number, shade in enumerate(SHADES, 1):
        strip = tf.io.decode_png(made.strips[f"cluster {number}"]).numpy()
        assert strip.shape == (48, 4 * 48, 3)
        assert strip.mean() == pytest.approx(shade, abs=5)


def test_without_a_dense_layer_or_a_free_name_there_are_no_clusters(
    tmp_path: Path, model: str, table
) -> None:
    inputs = keras.Input((4, 4, 1))
    outputs = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 2)(inputs))
    folder = _save(tmp_path / "saved", keras.Model(inputs, outputs), table)
    with pytest.raises(DataError, match="no dense layer"):
        Embedding(folder, "serving_default")
    with pytest.raises(DataError, match="no signature 'other'"):
        Embedding(folder, "other")
    made = _generate(tmp_path, folder)
    assert [found.name for found in made.slices.slices] == ["split eval"]
    (remark,) = made.slices.remarks
    assert "no dense layer" in remark.reason
    (tmp_path / "hidden").mkdir()
    (remark,) = _generate(tmp_path / "hidden", model, ("cluster",)).slices.remarks
    assert remark.reason == "a feature of this name hides the clusters of the embedding"
