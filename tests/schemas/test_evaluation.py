"""Why a model was not blessed, in one line per cause."""

from pathlib import Path

import pytest

from tfx_feeder.schemas.evaluation import ThresholdFailure, from_protos
from tfx_feeder.schemas.tfma import parse


def test_cause_names_metric_slice_value_threshold_and_baseline():
    cause = ThresholdFailure("accuracy", "label 3", 0.55, "at least 0.6", 0.9)
    assert str(cause) == "accuracy on label 3: 0.5500; threshold: at least 0.6; baseline: 0.9000"


def test_cause_without_value_or_baseline_says_so():
    cause = ThresholdFailure("accuracy", "form 2", None, "the slice has to hold examples")
    assert str(cause) == (
        "accuracy on form 2: missing; threshold: the slice has to hold examples; baseline: none"
    )


@pytest.fixture(scope="module")
def tfma():
    return pytest.importorskip("tensorflow_model_analysis")


def _metrics(column, value, candidate, baseline=None):
    from tensorflow_model_analysis.proto import metrics_for_slice_pb2 as pb

    message = pb.MetricsForSlice()
    if column:
        message.slice_key.single_slice_keys.add(column=column, int64_value=value)
    for model, accuracy in (("candidate", candidate), ("baseline", baseline)):
        if accuracy is not None:
            for name, number in (("accuracy", accuracy), ("example_count", 20.0)):
                pair = message.metric_keys_and_values.add()
                pair.key.name, pair.key.model_name = name, model
                pair.value.double_value.value = number
    return message


def _fail(result, column, value, **threshold):
    from google.protobuf import json_format

    validation = result.metric_validations_per_slice.add()
    if column:
        validation.slice_key.single_slice_keys.add(column=column, int64_value=value)
    failure = validation.failures.add()
    failure.metric_key.name = "accuracy"
    failure.metric_key.is_diff = "changeThreshold" in threshold
    json_format.ParseDict(threshold, failure.metric_threshold)


def _as_read(metrics, result):
    """Returns the messages as they are read from the files that TFMA writes them to."""
    here = Path("here")
    return (
        [parse("MetricsForSlice", message.SerializeToString(), here) for message in metrics],
        parse("ValidationResult", result.SerializeToString(), here),
    )


def test_slices_of_annotated_examples_are_named_by_their_value():
    message = parse("MetricsForSlice", b"", Path("here"))
    key = message.slice_key.single_slice_keys.add()
    key.column, key.bytes_value = "evaluation_slices", "größe [0.2, 0.4)".encode()
    pair = message.metric_keys_and_values.add()
    pair.key.name = "accuracy"
    pair.value.double_value.value = 0.5
    result = parse("ValidationResult", b"", Path("here"))
    pair = result.missing_slices.add().feature_values.add()
    pair.key, pair.value = "evaluation_slices", "form 3"
    evaluation = from_protos([message], result)
    assert [row.slice for row in evaluation.rows] == ["größe [0.2, 0.4)"]
    assert [cause.slice for cause in evaluation.causes] == ["form 3"]


@pytest.mark.slow
def test_judgement_of_real_messages(tfma):
    from tensorflow_model_analysis.proto import validation_result_pb2

    result = validation_result_pb2.ValidationResult(validation_ok=False)
    change = {"direction": "HIGHER_IS_BETTER", "absolute": -0.02}
    _fail(result, "label", 10, valueThreshold={"lowerBound": 0.5999999})
    _fail(result, None, None, changeThreshold=change)
    _fail(result, "label", 9, valueThreshold={"lowerBound": 0.6, "upperBound": 0.99})
    result.missing_slices.add(feature_keys=["form"])
    metrics = [
        _metrics("label", 10, 0.5, 0.9),
        _metrics(None, None, 0.9, 0.95),
        _metrics("label", 9, 0.4),
    ]
    judgement = from_protos(*_as_read(metrics, result))
    assert not judgement.blessed
    assert [row.slice for row in judgement.slices("accuracy")] == [
        "all examples",
        "label 9",
        "label 10",
    ]
    assert [row.baseline for row in judgement.slices("accuracy")] == [0.95, None, 0.9]
    assert [str(cause) for cause in judgement.causes] == [
        "accuracy on all examples: 0.9000; threshold: at most 0.02 below the baseline; "
        "baseline: 0.9500",
        "accuracy on label 9: 0.4000; threshold: at least 0.6 and at most 0.99; baseline: none",
        "accuracy on label 10: 0.5000; threshold: at least 0.6; baseline: 0.9000",
        "example_count on form: missing; threshold: the slice has to hold examples; baseline: none",
    ]


@pytest.mark.slow
def test_blessed_judgement_has_no_causes(tfma):
    from tensorflow_model_analysis.proto import validation_result_pb2

    result = validation_result_pb2.ValidationResult(validation_ok=True)
    judgement = from_protos(*_as_read([_metrics(None, None, 0.9)], result))
    assert judgement.blessed
    assert judgement.causes == ()
    assert judgement.rows[0].examples == 20
