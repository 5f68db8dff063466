"""The raw features that a request must hold: those that the model's inputs depend on."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform import impl_helper
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

from tfx_feeder.components.feeder_trainer.model.raw_features import required_raw_features

Features = dict[str, Any]
SPEC = {
    "id": tf.io.FixedLenFeature([], tf.string),
    "city": tf.io.VarLenFeature(tf.string),
    "fare": tf.io.FixedLenFeature([], tf.float32),
    "miles": tf.io.VarLenFeature(tf.float32),
    "tips": tf.io.FixedLenFeature([], tf.float32),
    "words": tf.io.RaggedFeature(tf.string),
}


@tf.function
def _ratio(a: tf.Tensor, b: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return a / b, a


def _preprocess(inputs: Features, vocabulary: str) -> Features:
    fare, tips = inputs["fare"], inputs["tips"]
    with tf.control_dependencies([tf.identity(tips)]):
        guarded = tf.identity(fare)
    ratio, passed = _ratio(tips, fare)
    return {
        "city_xf": tft.apply_vocabulary(inputs["city"], tf.constant(vocabulary), default_value=0),
        "fare_xf": tf.sqrt(fare),
        "guarded_xf": guarded,
        "label": tf.cast(tips > 0.2 * fare, tf.int64),
        "miles_xf": inputs["miles"],
        "miles_of_fare": tf.reshape(tf.sparse.reduce_sum(inputs["miles"], 1), [-1]) * fare,
        "passed_xf": passed,
        "ratio_xf": ratio,
        "rows": tf.fill(tf.shape(fare), inputs["miles"].dense_shape[0]),
        "words_xf": tf.sparse.from_dense(inputs["words"].to_tensor()),
    }


def _write_transform(
    folder: Path, spec: Mapping[str, Any], preprocess: Callable[[Features], Features]
) -> tft.TFTransformOutput:
    """Writes a transform graph without analyzers, as Transform does, and opens it."""
    types = {name: _type(feature) for name, feature in spec.items()}
    impl_helper.analyze_in_place(preprocess, False, dict(spec), types, str(folder))
    schema = schema_utils.schema_from_feature_spec(dict(spec))
    metadata_io.write_metadata(
        dataset_metadata.DatasetMetadata(schema),
        str(folder / tft.TFTransformOutput.RAW_METADATA_DIR),
    )
    return tft.TFTransformOutput(str(folder))


def _type(feature: Any) -> Any:
    if isinstance(feature, tf.io.VarLenFeature):
        return tf.SparseTensorSpec([None, None], feature.dtype)
    if isinstance(feature, tf.io.RaggedFeature):
        return tf.RaggedTensorSpec([None, None], feature.dtype, row_splits_dtype=tf.int64)
    return tf.TensorSpec([None, *feature.shape], feature.dtype)


@pytest.fixture(scope="module")
def transform(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("transform")
    vocabulary = folder / "cities"
    vocabulary.write_text("Chicago\nZurich\n")
    graph = _write_transform(
        folder / "graph", SPEC, lambda inputs: _preprocess(inputs, str(vocabulary))
    )
    return graph.transform_features_layer()


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (["fare_xf"], {"fare"}),
        (["fare_xf", "city_xf"], {"fare", "city"}),
        (["city_xf"], {"city"}),
        (["guarded_xf"], {"fare"}),
        (["label"], {"fare", "tips"}),
        (["miles_xf"], {"miles"}),
        (["miles_of_fare"], {"miles", "fare"}),
        (["rows"], {"miles", "fare"}),
        (["words_xf"], {"words"}),
        # A call in the user's code counts as a whole for TensorFlow Transform as well.
        (["passed_xf"], {"fare", "tips"}),
        (["ratio_xf"], {"fare", "tips"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_the_transform_computes_the_outputs_from_what_is_found_and_from_nothing_less(
    transform: Any, outputs: list[str], expected: set[str]
) -> None:
    found = required_raw_features(SPEC, transform, outputs)

    assert set(found) == expected
    _check_sufficient_and_minimal(transform, found, outputs)


def _check_sufficient_and_minimal(
    transform: Any, found: Mapping[str, Any], outputs: list[str]
) -> None:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def traced(serialized: tf.Tensor) -> None:
        parsed = tf.io.parse_example(serialized, dict(found))
        assert set(outputs) <= set(transform(parsed))
        for left_out in found if len(found) > 1 else ():
            rest = {name: value for name, value in parsed.items() if name != left_out}
            assert not set(outputs) <= set(transform(rest))

    traced.get_concrete_function()


def test_without_transform_the_features_of_the_model_are_found() -> None:
    assert set(required_raw_features(SPEC, dict, ["miles", "fare", "words"])) == {
        "fare",
        "miles",
        "words",
    }


def test_one_feature_remains_if_the_inputs_are_constants() -> None:
    constant = required_raw_features(SPEC, lambda _: {"one": tf.constant([1.0])}, ["one"])

    assert list(constant) == ["words"]


def test_the_transform_is_traced_once_whatever_the_number_of_features(tmp_path: Path) -> None:
    spec = {f"c{i}": tf.io.FixedLenFeature([], tf.float32) for i in range(40)}
    traces = []

    def transform(features: Features) -> Features:
        traces.append(len(features))
        called = tf.function(lambda inputs: {key + "_xf": v + 1 for key, v in inputs.items()})
        return called(features)

    found = required_raw_features(spec, transform, [f"c{i}_xf" for i in range(0, 40, 2)])

    assert list(found) == [f"c{i}" for i in range(0, 40, 2)]
    assert traces == [40]
