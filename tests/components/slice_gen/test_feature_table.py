"""Rows of numbers in which a classifier looks for a difference."""

import numpy as np
import pytest
import tensorflow as tf

from tests.components.slice_gen.measured import measured
from tfx_feeder.components.slice_gen.drift import compare_statistics
from tfx_feeder.components.slice_gen.feature_table import (
    downsampled,
    feature_table,
    with_properties,
)
from tfx_feeder.components.slice_gen.image_properties import PROPERTIES


def test_features_that_both_sides_have_are_columns() -> None:
    rng = np.random.default_rng(0)
    one = {
        "age": rng.normal(size=50),
        "city": rng.choice(["Rome", "Oslo"], 50),
        "gone": rng.normal(size=50),
        "mixed": rng.normal(size=50),
        "label": rng.integers(0, 2, 50),
    }
    other = {**one, "city": rng.choice(["Rome", "Kiel"], 50), "mixed": one["city"]}
    del other["gone"]
    table = feature_table([measured(one), measured(other)], ["label"], None)
    assert table.numbers == ("age",)
    ((name, values),) = table.categories
    assert (name, set(values)) == ("city", {b"Rome", b"Oslo", b"Kiel"})
    example = tf.train.Example()
    example.features.feature["city"].bytes_list.value.append(b"Kiel")
    row = table(example)
    assert len(row) == table.columns == 4
    assert np.isnan(row[0])
    assert row[1:][list(values).index(b"Kiel")] == 1
    assert row[1:].sum() == 1


def test_images_become_properties_and_few_pixels() -> None:
    table = feature_table([measured({})], [], "image")
    example = tf.train.Example()
    image = np.zeros((16, 24, 1), np.uint8)
    image[:8] = 255
    encoded = tf.io.encode_png(image).numpy()
    example.features.feature["image"].bytes_list.value.append(encoded)
    row = table(example)
    assert len(row) == table.columns == len(PROPERTIES) + 64
    properties = {name: values[0] for name, values in table.properties(row[None]).items()}
    assert properties["brightness"] == pytest.approx(0.5)
    assert (properties["size"], properties["aspect"]) == (384, 1.5)
    assert row[len(PROPERTIES) :].reshape(8, 8).mean(axis=1).tolist() == [1] * 4 + [0] * 4
    broken = tf.train.Example()
    broken.features.feature["image"].bytes_list.value.append(b"no image")
    assert np.isnan(table(broken)).all()


def test_images_of_any_size_have_the_same_number_of_pixels() -> None:
    assert downsampled(np.arange(4.0).reshape(2, 2), 4).tolist() == [
        [0, 0, 1, 1],
        [0, 0, 1, 1],
        [2, 2, 3, 3],
        [2, 2, 3, 3],
    ]
    image = np.random.default_rng(0).random((37, 16))
    assert downsampled(image, 8).shape == (8, 8)
    assert downsampled(image, 1) == pytest.approx(image.mean())


def test_properties_of_a_sample_are_compared_with_its_size() -> None:
    rng = np.random.default_rng(1)
    base = measured({"age": rng.normal(size=10_000)})
    before, same, darker = (
        {"brightness": rng.normal(0.5 - shift, 0.1, 300), "size": np.full(300, 784.0)}
        for shift in (0, 0, 0.1)
    )
    before["brightness"][:3] = np.nan
    rows = {
        row.feature: row
        for row in compare_statistics(
            with_properties(base, darker), with_properties(base, before)
        ).features
        if row.aspect == "values"
    }
    assert rows["brightness"].verdict == "drift"
    assert rows["brightness"].baseline_examples == 9900
    assert rows["size"].verdict != "drift"
    report = compare_statistics(with_properties(base, same), with_properties(base, before))
    assert report.verdict == "no drift"
