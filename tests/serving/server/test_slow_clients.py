"""Clients that send slowly, endlessly or nothing hold neither a thread nor the server."""

import http.client
import json
import socket
import time

import pytest

from tfx_feeder.serving.server import http_protocol


@pytest.fixture
def connect(server):
    opened = []

    def connect():
        opened.append(socket.create_connection(("127.0.0.1", server.rest_port), timeout=20))
        return opened[-1]

    yield connect
    for each in opened:
        each.close()


def predict(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    connection.request("POST", "/v1/models/scaled:predict", json.dumps({"instances": [[1, 2]]}))
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def test_idle_connections(server, connect):
    for _ in range(300):
        connect()
    for _ in range(3):
        assert predict(server) == {"predictions": [[2, 4]]}


def test_heads_that_do_not_end(server, connect, monkeypatch):
    monkeypatch.setattr(http_protocol, "HEAD_S", 0.5)
    slow, silent = connect(), connect()
    slow.sendall(b"POST /v1/models/scaled:predict HTTP/1.1\r\nX: ")
    started = time.monotonic()
    while time.monotonic() - started < 10:
        try:
            slow.sendall(b"a")
            time.sleep(0.05)
        except OSError:
            break
    assert time.monotonic() - started < 5
    assert silent.recv(10) == b""
    assert predict(server) == {"predictions": [[2, 4]]}


def test_heads_that_are_too_large(server, connect):
    large = connect()
    large.sendall(b"GET /v1/models/scaled HTTP/1.1\r\n")
    large.settimeout(5)  # Below the time that a head may take.
    try:
        for _ in range(100):
            large.sendall(b"X: " + b"a" * 4_096 + b"\r\n")
        answer = large.recv(200)
    except ConnectionError:
        answer = b""
    assert not answer or answer.startswith(b"HTTP/1.1 400")
    assert predict(server) == {"predictions": [[2, 4]]}


def test_a_large_body_in_one_piece_is_no_large_head(server, connect):
    body = json.dumps({"instances": [[1, 2]] * 20_000}).encode()
    whole = connect()
    head = f"POST /v1/models/scaled:predict HTTP/1.1\r\nContent-Length: {len(body)}\r\n"
    whole.sendall(head.encode() + b"Host: x\r\nConnection: close\r\n\r\n" + body)
    assert whole.recv(20).startswith(b"HTTP/1.1 200")


def test_two_requests_on_one_connection(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    for _ in range(2):
        connection.request("GET", "/v1/models/scaled")
        assert connection.getresponse().read()
    connection.close()


def test_a_body_that_ends_early_is_no_request(server, connect):
    half = connect()
    half.sendall(b"POST /v1/models/scaled:predict HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
    half.close()
    assert predict(server) == {"predictions": [[2, 4]]}
