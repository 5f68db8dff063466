"""Whatever is sent, the answer is a result or an error of the request, never one of the server."""

import json
import string

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis import classification_pb2, inference_pb2, predict_pb2, regression_pb2

from tests.serving.server.conftest import FREE_PORTS
from tfx_feeder.serving.server import rest_v1, rest_v2
from tfx_feeder.serving.server.errors import Code, ServingError
from tfx_feeder.serving.server.metrics import Metrics
from tfx_feeder.serving.server.options import ModelOptions
from tfx_feeder.serving.server.predictor import Caller, Predictor
from tfx_feeder.serving.server.server import ModelServer

REFUSALS = {Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.FAILED_PRECONDITION, Code.UNIMPLEMENTED}
CALLER = Caller("REST")
NAMES = st.sampled_from(["x", "a", "b", "text", "inputs", "b64", ""])
SIGNATURES = st.sampled_from(["", "serving_default", "add", "echo", "classify", "regress", "no"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.fixed_dictionaries({"b64": st.sampled_from(["", "YQ==", "?", "YQ"]) | st.integers()})
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)
TENSORS = st.fixed_dictionaries(
    {"name": NAMES, "shape": VALUES | st.just([1, 2]), "data": VALUES},
    optional={
        "datatype": st.sampled_from(["FP32", "INT64", "BYTES", "BOOL", "FP16", "X"]) | VALUES
    },
)


@pytest.fixture(scope="module")
def predictor(model_folder):
    server = ModelServer([ModelOptions("scaled", model_folder)], FREE_PORTS)
    server.models.poll()
    yield Predictor(server.models, Metrics(lambda: 0), most_bytes=2**20)
    server.stop()


def check(answer):
    refusal = None
    try:
        assert answer() is not None
    except ServingError as error:
        refusal = error
    if refusal is not None:
        assert refusal.code in REFUSALS
        assert len(refusal.message) <= 1_000


@given(
    action=st.sampled_from(["predict", "classify", "regress"]),
    signature=SIGNATURES,
    key=st.sampled_from(["instances", "inputs", "examples"]),
    value=VALUES,
)
@settings(max_examples=400)
def test_documents_of_tensorflow_serving(predictor, action, signature, key, value):
    body = json.dumps({"signature_name": signature, key: value}).encode()
    target = rest_v1.parse_path(f"/v1/models/scaled:{action}")
    check(lambda: json.loads(rest_v1.answer(predictor, target, body, CALLER)))


@given(tensors=st.lists(TENSORS, max_size=3) | VALUES, outputs=VALUES, parameters=VALUES)
@settings(max_examples=300)
def test_documents_of_the_inference_protocol(predictor, tensors, outputs, parameters):
    body = json.dumps({"inputs": tensors, "outputs": outputs, "parameters": parameters}).encode()
    target = rest_v2.parse_path("/v2/models/scaled/infer")
    check(lambda: json.loads(rest_v2.answer(predictor, target, body, CALLER)))


@given(body=st.binary(max_size=50) | st.text(alphabet=string.printable, max_size=50))
def test_bodies_of_any_bytes(predictor, body):
    data = body.encode() if isinstance(body, str) else body
    for api, path in (
        (rest_v1, "/v1/models/scaled:predict"),
        (rest_v1, "/v1/models/scaled:classify"),
        (rest_v2, "/v2/models/scaled/infer"),
    ):
        check(lambda api=api, path=path: api.answer(predictor, api.parse_path(path), data, CALLER))


@given(path=st.text(alphabet="/v12models:scaled{}%\n\0é", max_size=40))
def test_paths(path):
    for api in (rest_v1, rest_v2):
        check(lambda api=api: api.parse_path(path))


@given(
    signature=SIGNATURES,
    dtype=st.integers(0, 130),
    sizes=st.lists(st.integers(-2, 5) | st.just(2**40), max_size=3),
    content=st.binary(max_size=40),
    floats=st.lists(st.floats(width=32), max_size=4),
    texts=st.lists(st.binary(max_size=4), max_size=4),
    name=NAMES,
)
@settings(max_examples=400)
def test_tensors(predictor, signature, dtype, sizes, content, floats, texts, name):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "scaled", signature
    tensor = request.inputs[name]
    tensor.dtype = dtype
    for size in sizes:
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = content
    tensor.float_val.extend(floats)
    tensor.string_val.extend(texts)
    check(lambda: predictor.predict(request, CALLER))


@given(data=st.binary(max_size=60), kind=st.integers(0, 3))
@settings(max_examples=300)
def test_messages_of_any_bytes(predictor, data, kind):
    message, answer = (
        (predict_pb2.PredictRequest, predictor.predict),
        (classification_pb2.ClassificationRequest, predictor.classify),
        (regression_pb2.RegressionRequest, predictor.regress),
        (inference_pb2.MultiInferenceRequest, predictor.multi_inference),
    )[kind]
    request = message()
    try:
        request.ParseFromString(data)
    except (DecodeError, SystemError):  # Also how protobuf 3 refuses what follows a group's end.
        return
    if kind < 3:
        request.model_spec.name = "scaled"
    check(lambda: answer(request, CALLER))


@given(values=st.lists(st.floats(width=32, allow_subnormal=False), min_size=2, max_size=2))
def test_numbers_come_back_as_the_model_gave_them(predictor, values):
    body = json.dumps({"instances": [values]}).encode()
    target = rest_v1.parse_path("/v1/models/scaled:predict")
    answer = json.loads(rest_v1.answer(predictor, target, body, CALLER))["predictions"][0]
    with np.errstate(over="ignore"):
        expected = np.float32(values) * np.float32(2)
    np.testing.assert_array_equal(np.float32(answer), np.asarray(tf.constant(expected)))
