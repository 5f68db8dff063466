"""Tokens, TLS, limits, and models that are exchanged while the server runs."""

import dataclasses
import http.client
import json
import ssl
import subprocess
import threading
import time

import grpc
import pytest
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from tests.serving.server.conftest import FREE_PORTS
from tests.serving.server.saved_models import save
from tests.serving.server.test_grpc_api import request
from tfx_feeder.serving.server.options import ModelOptions
from tfx_feeder.serving.server.server import ModelServer


@pytest.fixture
def start(model_folder):
    started = []

    def start(**options):
        server = ModelServer(
            [ModelOptions("scaled", model_folder)], dataclasses.replace(FREE_PORTS, **options)
        )
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop(grace_s=1)


def post(server, headers=None, context=None):
    where = ("localhost", server.rest_port)
    connection = (
        http.client.HTTPSConnection(*where, timeout=20, context=context)
        if context
        else http.client.HTTPConnection(*where, timeout=20)
    )
    body = json.dumps({"instances": [[1, 2]]})
    connection.request("POST", "/v1/models/scaled:predict", body, headers or {})
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer


def test_requests_without_the_token_are_refused(start, tmp_path):
    token = tmp_path / "token"
    token.write_text("secret\n")
    server = start(token_file=token)
    for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "secret"}):
        status, answer = post(server, headers)
        assert status == 401
        assert "secret" not in json.dumps(answer)
    assert post(server, {"Authorization": "Bearer secret"})[0] == 200
    channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    for metadata in (None, (("authorization", "Bearer other"),)):
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(request([[1, 2]]), metadata=metadata)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert stub.Predict(request([[1, 2]]), metadata=(("authorization", "Bearer secret"),))


def test_tls(start, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost"]
    out = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names, *out], check=True, capture_output=True)
    server = start(certificate=certificate, private_key=key)
    assert post(server, context=ssl.create_default_context(cafile=certificate))[0] == 200
    credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
    with grpc.secure_channel(f"localhost:{server.grpc_port}", credentials) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert stub.Predict(request([[1, 2]]), timeout=10)
    with pytest.raises((OSError, http.client.HTTPException)):
        post(server)


def test_more_requests_than_may_wait_are_refused_at_once(start):
    server = start(threads=1, queue=1)
    running, go = threading.Event(), threading.Event()
    versions = server.models.get("scaled")
    with versions.acquire() as (_, model):
        original = model.run

        def slow(*arguments):
            running.set()
            go.wait(20)
            return original(*arguments)

        model.run = slow
        results = []
        waiting = [threading.Thread(target=lambda: results.append(post(server))) for _ in "ab"]
        try:
            waiting[0].start()
            assert running.wait(20)
            waiting[1].start()
            deadline = time.monotonic() + 20
            while server._admission.number < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            status, answer = post(server)
            assert (status, answer["error"]) == (429, "the server is busy; try again later")
        finally:
            go.set()
            for thread in waiting:
                thread.join()
    assert [status for status, _ in results] == [200, 200]


def test_the_models_are_exchanged_by_a_request(start, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    save(other / "5")
    server = start()
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        models = model_service_pb2_grpc.ModelServiceStub(channel)
        reload = model_management_pb2.ReloadConfigRequest()
        config = reload.config.model_config_list.config.add()
        config.name, config.base_path = "other", str(other)
        assert models.HandleReloadConfigRequest(reload).status.error_code == 0
        asked = get_model_status_pb2.GetModelStatusRequest()
        asked.model_spec.name = "other"
        deadline = time.monotonic() + 20
        while not (found := models.GetModelStatus(asked).model_version_status):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert found[0].version == 5
        prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            prediction.Predict(request([[1, 2]]))
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.RpcError) as caught:
            models.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest())
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
