"""The REST APIs of TensorFlow Serving and of the Open Inference Protocol."""

import base64
import http.client
import json
import math
import threading

import grpc
import pytest

from tfx_feeder.serving.server.errors import HTTP_STATUS

V1 = "/v1/models/scaled"


@pytest.fixture
def ask(server):
    def ask(method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        connection.request(method, path, data, headers or {})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        is_json = response.headers["content-type"] == "application/json"
        return response.status, json.loads(content) if is_json else content.decode()

    return ask


def test_a_failed_precondition_is_a_bad_request_as_in_tensorflow_serving():
    assert HTTP_STATUS[grpc.StatusCode.FAILED_PRECONDITION] == 400


@pytest.mark.parametrize("path", [V1, f"{V1}/versions/3", f"{V1}/labels/stable"])
def test_rows_of_the_only_input(ask, path):
    body = {"instances": [[1, 2], [0.1, -4]]}
    assert ask("POST", f"{path}:predict", body) == (200, {"predictions": [[2, 4], [0.2, -8]]})


def test_rows_and_columns_of_several_inputs(ask):
    rows = {"signature_name": "add", "instances": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}
    encoded = [base64.b64encode(text).decode() for text in (b"2", b"4")]
    assert ask("POST", f"{V1}:predict", rows)[1] == {
        "predictions": [
            {"raw_bytes": {"b64": encoded[0]}, "sum": 3, "text": "1"},
            {"raw_bytes": {"b64": encoded[1]}, "sum": 7, "text": "3"},
        ]
    }
    columns = {"signature_name": "add", "inputs": {"a": [1, 3], "b": [2, 4]}}
    assert ask("POST", f"{V1}:predict", columns)[1] == {
        "outputs": {
            "raw_bytes": [{"b64": each} for each in encoded],
            "sum": [3, 7],
            "text": ["1", "3"],
        }
    }
    assert ask("POST", f"{V1}:predict", {"inputs": [[1, 2]]})[1] == {"outputs": [[2, 4]]}


def test_text_and_bytes(ask):
    encoded = base64.b64encode(b"\xff\x00").decode()
    body = {"signature_name": "echo", "instances": ["é", {"b64": encoded}]}
    assert ask("POST", f"{V1}:predict", body)[1] == {"predictions": ["é", {"b64": encoded}]}


def test_numbers_that_json_lacks(ask):
    body = b'{"instances": [[NaN, Infinity], [1, -Infinity], [0.1, 3]]}'
    status, answer = ask("POST", f"{V1}:predict", body)
    assert status == 200
    first, second, third = answer["predictions"]
    assert math.isnan(first[0])
    assert (first[1], second, third) == (math.inf, [2, -math.inf], [0.2, 6])


def test_classify_and_regress(ask):
    body = {"signature_name": "classify", "examples": [{"x": 0.0}]}
    expected = {"results": [[["negative", 0.5], ["positive", 0.5]]]}
    assert ask("POST", f"{V1}:classify", body) == (200, expected)
    body = {"signature_name": "regress", "context": {"x": 5.0}, "examples": [{"x": [1.5]}, {}]}
    assert ask("POST", f"{V1}:regress", body) == (200, {"results": [3.0, 10.0]})


def test_status_and_metadata(ask):
    version = {"version": "3", "state": "AVAILABLE"}
    version["status"] = {"error_code": "OK", "error_message": ""}
    assert ask("GET", V1) == (200, {"model_version_status": [version]})
    status, answer = ask("GET", f"{V1}/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": "scaled", "signature_name": "", "version": "3"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "reason"),
    [
        ("POST", f"{V1}:predict", b"{", 400, "JSON Parse error"),
        ("POST", f"{V1}:predict", b"[" * 100_000, 400, "JSON Parse error"),
        ("POST", f"{V1}:predict", b'{"instances": NaN' + b"[" * 100_000, 400, "JSON Parse error"),
        ("POST", f"{V1}:predict", {}, 400, "Missing 'inputs' or 'instances'"),
        ("POST", f"{V1}:predict", [], 400, "must be a JSON object"),
        ("POST", f"{V1}:predict", {"instances": []}, 400, "at least one"),
        ("POST", f"{V1}:predict", {"instances": [[1, 2], [3]]}, 400, "input 'x'"),
        ("POST", f"{V1}:predict", {"instances": [["a", "b"]]}, 400, "received text"),
        ("POST", f"{V1}:predict", {"instances": [[True, False]]}, 400, "received booleans"),
        ("POST", f"{V1}:predict", {"instances": [[1e39, 0]]}, 400, "out of the range of float32"),
        ("POST", f"{V1}:predict", {"instances": [{"x": [1, 2]}, {"y": 1}]}, 400, "instance 1"),
        ("POST", f"{V1}:predict", {"instances": [[1, 2]], "signature_name": 3}, 400, "string"),
        (
            "POST",
            f"{V1}:predict",
            {"signature_name": "add", "instances": [{"a": 2**70, "b": 1}]},
            400,
            "input 'a'",
        ),
        ("POST", f"{V1}:predict", {"signature_name": "echo", "inputs": [[["a"]]]}, 400, "shape"),
        ("POST", f"{V1}:predict", {"signature_name": "echo", "inputs": [{"b64": "?"}]}, 400, "64"),
        ("POST", f"{V1}:regress", {"examples": [{"x": [1, "a"]}]}, 400, "all of one kind"),
        ("POST", "/v1/models/other:predict", {"instances": [1]}, 404, "there are: scaled"),
        ("POST", f"{V1}/versions/9:predict", {"instances": [[1, 2]]}, 404, "version 9"),
        ("POST", f"{V1}/versions/99999999999999999999:predict", {}, 404, "Malformed request"),
        ("GET", f"{V1}:predict", None, 405, "expected the method POST"),
        ("GET", "/nothing", None, 404, "Malformed request"),
        ("GET", f"{V1}/versions/9", None, 404, "version 9"),
        ("POST", "/v2/models/scaled/infer", {"inputs": []}, 400, "'inputs'"),
        (
            "POST",
            "/v2/models/scaled/infer",
            {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2]}]},
            400,
            "2 values for the shape [1, 3]",
        ),
        (
            "POST",
            "/v2/models/scaled/infer",
            {"inputs": [{"name": "x", "shape": [1], "datatype": "F", "data": [1]}]},
            400,
            "expected a datatype",
        ),
    ],
)
def test_wrong_requests(ask, method, path, body, status, reason):
    found, answer = ask(method, path, body)
    assert found == status
    assert reason in answer["error"]
    assert set(answer) == {"error"}
    assert len(answer["error"]) <= 1_000


def test_a_body_that_is_too_large_is_refused(ask):
    status, answer = ask("POST", f"{V1}:predict", b" " * (5 * 2**20))
    assert status == 413
    assert "bytes" in answer["error"]


def test_inference_protocol(ask):
    tensor = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [3, 4]]}
    body = {"id": "7", "inputs": [tensor], "outputs": [{"name": "scaled"}]}
    output = {"name": "scaled", "shape": [2, 2], "datatype": "FP32", "data": [2, 4, 6, 8]}
    expected = {"model_name": "scaled", "model_version": "3", "id": "7", "outputs": [output]}
    assert ask("POST", "/v2/models/scaled/infer", body) == (200, expected)
    assert ask("POST", "/v2/models/scaled/versions/3/infer", body) == (200, expected)
    assert ask("GET", "/v2/models/scaled") == (
        200,
        {
            "name": "scaled",
            "versions": ["3"],
            "platform": "tensorflow_savedmodel",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "scaled", "datatype": "FP32", "shape": [-1, 2]}],
        },
    )
    assert ask("GET", "/v2/models/scaled/ready")[0] == 200
    assert ask("GET", "/v2/models/scaled/versions/4/ready")[0] == 404


def test_text_by_the_inference_protocol(ask):
    tensor = {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["é", "b"]}
    body = {"inputs": [tensor], "parameters": {"signature_name": "echo"}}
    (output,) = ask("POST", "/v2/models/scaled/infer", body)[1]["outputs"]
    assert output == tensor


def test_health(ask):
    assert ask("GET", "/v2/health/live") == (200, {"live": True})
    assert ask("GET", "/v2/health/ready") == (200, {"ready": True})
    assert ask("GET", "/v2")[1]["name"] == "tfx-feeder"


def test_metrics_have_the_names_of_tensorflow_serving(ask):
    ask("POST", f"{V1}:predict", {"instances": [[1, 2]]})
    ask("POST", f"{V1}:predict", {"instances": [["a"]]})
    ask("POST", "/v1/models/unknown:predict", {"instances": [1]})
    status, text = ask("GET", "/monitoring/prometheus/metrics")
    assert status == 200
    assert ':tensorflow:serving:request_count{model_name="scaled",status="OK"}' in text
    count = ':tensorflow:serving:request_count{model_name="scaled",status="INVALID_ARGUMENT"}'
    assert count in text
    latency = ':tensorflow:serving:request_latency_count{API="Predict",entrypoint="REST"'
    assert latency in text
    assert "unknown" not in text.replace("# TYPE :tensorflow:serving:request_count unknown", "")


def test_many_clients_at_once_are_answered(ask):
    answers = []

    def client(number):
        body = {"instances": [[number, 0]]}
        answers.append((number, ask("POST", f"{V1}:predict", body)[1]["predictions"][0][0]))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [(number, 2.0 * number) for number in range(20)]
