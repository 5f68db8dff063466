"""Whether a saved model can predict the examples of an evaluation."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import tensorflow as tf

from tfx_feeder.components.evaluator.runnable import failure


def _example(**values: int) -> bytes:
    features = {
        name: tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        for name, value in values.items()
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString()


EXAMPLES = [_example(age=number, label=1) for number in range(3)]


def _save(folder: Path, needed: Sequence[str], *, signature: str = "serving_default") -> str:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(examples):
        spec = {name: tf.io.FixedLenFeature([], tf.int64) for name in needed}
        parsed = tf.io.parse_example(examples, spec)
        return {"sum": tf.add_n([parsed[name] for name in needed])}

    module = tf.Module()
    module.serve = serve
    tf.saved_model.save(module, str(folder), signatures={signature: serve})
    return str(folder)


def _save_of_features(folder: Path, name: str) -> str:
    module = tf.Module()
    module.serve = tf.function(
        lambda **features: {"same": features[name]},
        input_signature=None,
    ).get_concrete_function(**{name: tf.TensorSpec([None], tf.int64, name=name)})
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return str(folder)


def test_a_model_that_predicts_the_examples_can_be_evaluated(tmp_path):
    assert failure(_save(tmp_path, ["age"]), {"signature_name": "serving_default"}, EXAMPLES) == ""
    assert failure(str(tmp_path), {}, EXAMPLES) == ""


def test_a_feature_that_the_examples_lack_is_named(tmp_path):
    reason = failure(_save(tmp_path, ["age", "width"]), {}, EXAMPLES)
    assert reason.startswith("it fails on the examples: ")
    assert "width" in reason
    assert "\n" not in reason


def test_a_signature_that_the_model_lacks_is_named_with_those_it_has(tmp_path):
    folder = _save(tmp_path, ["age"], signature="predict")
    reason = failure(folder, {"signature_name": "serving_default"}, EXAMPLES)
    assert reason == "it has no signature 'serving_default', only predict"
    assert failure(folder, {"signature_name": "predict"}, EXAMPLES) == ""
    asked = {"preprocessing_function_names": ["transform_features"]}
    assert "no function 'transform_features'" in failure(folder, asked, EXAMPLES)


@pytest.mark.parametrize(("name", "reason"), [("age", ""), ("width", "it takes width, which")])
def test_signatures_of_features_are_looked_up_and_not_called(tmp_path, name, reason):
    found = failure(_save_of_features(tmp_path, name), {}, EXAMPLES)
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_a_folder_without_a_model_is_a_reason_and_no_error(tmp_path):
    assert failure(str(tmp_path), {}, EXAMPLES).startswith("it cannot be loaded: ")


def test_without_examples_only_the_signatures_are_checked(tmp_path):
    assert failure(_save(tmp_path, ["width"]), {}, []) == ""
