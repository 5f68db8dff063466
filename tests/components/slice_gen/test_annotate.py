"""Names of the slices of an example."""

import tensorflow as tf

from tfx_feeder.components.slice_gen.annotate import (
    ExampleEncoder,
    SliceNamer,
    annotated,
    feature_values,
    parse,
)
from tfx_feeder.components.slice_gen.encoders import IntervalEncoder, ValueEncoder
from tfx_feeder.schemas.slices import SLICES_FEATURE

ENCODERS = {
    "tags": ValueEncoder("tags", {b"a": "a", b"b": "b"}, multivalent=True),
    "age": IntervalEncoder("age", [18.0]),
}


def _example(**features: tf.train.Feature) -> tf.train.Example:
    return tf.train.Example(features=tf.train.Features(feature=features))


def _bytes(*values: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _floats(*values: float) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _names(example: tf.train.Example, **slices) -> list[str]:
    codes, decoded = ExampleEncoder(ENCODERS)(example)
    assert decoded
    return SliceNamer(ENCODERS, **slices)(codes)


def test_every_combination_of_several_values_is_a_slice() -> None:
    example = _example(tags=_bytes(b"b", b"rare", b"a"), age=_floats(20.0))
    assert _names(example, crosses=[("age", "tags"), ("tags",)]) == [
        "age [18, inf), tags a",
        "age [18, inf), tags b",
        "tags a",
        "tags b",
    ]
    assert _names(example, crosses=[("age", "tags")], kept={("age", "tags"): [(2, 2)]}) == [
        "age [18, inf), tags b"
    ]
    conditions = [(("age", 2), ("tags", 1)), (("age", 1),)]
    assert _names(example, conditions=conditions) == ["age [18, inf), tags a"]


def test_a_slice_that_is_declared_and_proposed_is_named_once() -> None:
    example = _example(age=_floats(20.0))
    assert _names(example, crosses=[("age",)], conditions=[(("age", 2),)]) == ["age [18, inf)"]


def test_missing_features_are_missing_however_they_are_stored() -> None:
    for example in (_example(), _example(tags=tf.train.Feature()), _example(tags=_bytes())):
        assert tuple(feature_values(example.features.feature, "tags")) == ()
        assert _names(example, crosses=[("tags",)]) == ["tags (missing)"]


def test_an_annotation_replaces_an_earlier_one_and_nothing_else() -> None:
    example = _example(age=_floats(20.0), **{SLICES_FEATURE: _bytes(b"old")})
    again = parse(annotated(example, ["größe 1", "split eval"]))
    assert list(again.features.feature.pop(SLICES_FEATURE).bytes_list.value) == [
        "größe 1".encode(),
        b"split eval",
    ]
    assert again == _example(age=_floats(20.0))
