"""TensorFlow Serving's clients are answered as TensorFlow Serving answers them."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tfx_feeder.serving.server.saved_model import CLASSIFY, REGRESS

Code = grpc.StatusCode


@pytest.fixture
def prediction(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture
def models(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


def request(x, signature="", name="scaled", **version):
    made = predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(name=name, signature_name=signature, **version)
    )
    made.inputs["x"].CopyFrom(tf.make_tensor_proto(x, tf.float32))
    return made


def examples(*values):
    return [
        tf.train.Example(
            features=tf.train.Features(
                feature={"x": tf.train.Feature(float_list=tf.train.FloatList(value=[value]))}
            )
        )
        for value in values
    ]


def refusal(call, message):
    with pytest.raises(grpc.RpcError) as caught:
        call(message)
    return caught.value.code(), caught.value.details()


def test_predict(prediction):
    response = prediction.Predict(request([[1, 2], [3, 4]]))
    assert tf.make_ndarray(response.outputs["scaled"]).tolist() == [[2, 4], [6, 8]]
    assert response.model_spec.name == "scaled"
    assert response.model_spec.version.value == 3
    assert response.model_spec.signature_name == "serving_default"


def test_predict_by_version_and_by_label(prediction):
    by_label = request([[1, 2]])
    by_label.model_spec.version_label = "stable"
    by_version = request([[1, 2]])
    by_version.model_spec.version.value = 3
    for each in (by_label, by_version):
        assert prediction.Predict(each).model_spec.version.value == 3


def test_predict_of_text_and_of_several_inputs(prediction):
    made = predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(name="scaled", signature_name="add"),
        output_filter=["text", "sum"],
    )
    for name, value in (("a", [1, 2]), ("b", [3, 4])):
        made.inputs[name].CopyFrom(tf.make_tensor_proto(value, tf.int64))
    response = prediction.Predict(made)
    assert {n: tf.make_ndarray(t).tolist() for n, t in response.outputs.items()} == {
        "sum": [4, 6],
        "text": [b"1", b"2"],
    }
    made = predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(name="scaled", signature_name="echo")
    )
    made.inputs["text"].CopyFrom(tf.make_tensor_proto([b"a\xff", b""], tf.string))
    found = tf.make_ndarray(prediction.Predict(made).outputs["text"]).tolist()
    assert found == [b"a\xff", b""]


def test_values_that_stand_for_many(prediction):
    made = request([[1, 2]])
    made.inputs["x"].Clear()
    made.inputs["x"].dtype = tf.float32.as_datatype_enum
    made.inputs["x"].float_val.append(3)
    for size in (2, 2):
        made.inputs["x"].tensor_shape.dim.add(size=size)
    found = tf.make_ndarray(prediction.Predict(made).outputs["scaled"]).tolist()
    assert found == [[6, 6], [6, 6]]
    made.inputs["x"].tensor_shape.dim[0].size = 10**12
    code, details = refusal(prediction.Predict, made)
    assert code == Code.INVALID_ARGUMENT
    assert "larger than" in details


def test_classify(prediction):
    made = classification_pb2.ClassificationRequest(
        model_spec=model_pb2.ModelSpec(name="scaled", signature_name="classify")
    )
    made.input.example_list.examples.extend(examples(0.0, 1.0))
    result = prediction.Classify(made).result
    labels = [[each.label for each in row.classes] for row in result.classifications]
    assert labels == [["negative", "positive"]] * 2
    scores = [row.classes[1].score for row in result.classifications]
    assert scores == pytest.approx([0.5, 1 / (1 + np.exp(-2))])


def test_regress_with_a_context(prediction):
    made = regression_pb2.RegressionRequest(
        model_spec=model_pb2.ModelSpec(name="scaled", signature_name="regress")
    )
    made.input.example_list_with_context.context.CopyFrom(examples(5.0)[0])
    made.input.example_list_with_context.examples.extend([*examples(1.0), tf.train.Example()])
    result = prediction.Regress(made).result
    assert [each.value for each in result.regressions] == [2.0, 10.0]


def test_multi_inference(prediction):
    made = inference_pb2.MultiInferenceRequest()
    for signature, method in (("classify", CLASSIFY), ("regress", REGRESS)):
        spec = model_pb2.ModelSpec(name="scaled", signature_name=signature)
        made.tasks.add(model_spec=spec, method_name=method)
    made.input.example_list.examples.extend(examples(1.0))
    first, second = prediction.MultiInference(made).results
    assert len(first.classification_result.classifications) == 1
    assert second.regression_result.regressions[0].value == 2.0
    assert second.model_spec.version.value == 3


def test_metadata(prediction):
    made = get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec=model_pb2.ModelSpec(name="scaled"), metadata_field=["signature_def"]
    )
    signatures = get_model_metadata_pb2.SignatureDefMap()
    prediction.GetModelMetadata(made).metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["classify"].method_name == CLASSIFY
    assert set(signatures.signature_def["add"].inputs) == {"a", "b"}


def test_status(models):
    made = get_model_status_pb2.GetModelStatusRequest(model_spec=model_pb2.ModelSpec(name="scaled"))
    (version,) = models.GetModelStatus(made).model_version_status
    assert version.version == 3
    assert version.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE


@pytest.mark.parametrize(
    ("wrong", "code", "reason"),
    [
        (request([[1, 2]], name="other"), Code.NOT_FOUND, "there are: scaled"),
        (request([[1, 2]], name=""), Code.INVALID_ARGUMENT, "Missing ModelSpec"),
        (request([[1, 2]], signature="none"), Code.INVALID_ARGUMENT, "there are: add, classify"),
        (request([[1, 2, 3]]), Code.INVALID_ARGUMENT, "expected the shape"),
        (request([[1, 2]], version={"value": 7}), Code.NOT_FOUND, "version 7"),
        (request([[1, 2]], version_label="canary"), Code.INVALID_ARGUMENT, "has: stable"),
        (request([[1, 2]], signature="add"), Code.INVALID_ARGUMENT, "Missing but required: {a,b}"),
        (request([11.0], signature="fail"), Code.INVALID_ARGUMENT, "x is too large"),
    ],
)
def test_wrong_requests_get_the_codes_of_tensorflow_serving(prediction, wrong, code, reason):
    found, details = refusal(prediction.Predict, wrong)
    assert found == code
    assert reason in details


def test_malformed_tensors_are_refused(prediction):
    for change in (
        lambda tensor: tensor.tensor_shape.dim.add(size=3),
        lambda tensor: setattr(tensor.tensor_shape, "unknown_rank", True),
        lambda tensor: setattr(tensor, "dtype", 99),
        lambda tensor: setattr(tensor, "tensor_content", b"abc"),
    ):
        wrong = request([[1, 2]])
        change(wrong.inputs["x"])
        assert refusal(prediction.Predict, wrong)[0] == Code.INVALID_ARGUMENT
    assert prediction.Predict(request([[1, 2]]))


def test_a_predict_signature_is_neither_classified_nor_regressed(prediction):
    made = classification_pb2.ClassificationRequest(model_spec=model_pb2.ModelSpec(name="scaled"))
    made.input.example_list.examples.extend(examples(0.0))
    code, details = refusal(prediction.Classify, made)
    assert code == Code.INVALID_ARGUMENT
    assert "Expected classification signature method_name" in details
    made.input.Clear()
    made.model_spec.signature_name = "classify"
    assert refusal(prediction.Classify, made) == (Code.INVALID_ARGUMENT, "Input is empty.")


def test_health_and_reflection(channel):
    health = health_pb2_grpc.HealthStub(channel)
    name = "tensorflow.serving.PredictionService"
    status = health.Check(health_pb2.HealthCheckRequest(service=name)).status
    assert status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=name),
        reflection_pb2.ServerReflectionRequest(
            file_containing_symbol="tensorflow.serving.ModelService"
        ),
    ]
    listed, *described = reflection.ServerReflectionInfo(iter(asked))
    services = {service.name for service in listed.list_services_response.service}
    assert {name, "tensorflow.serving.ModelService", "grpc.health.v1.Health"} <= services
    for answer in described:
        assert answer.file_descriptor_response.file_descriptor_proto
