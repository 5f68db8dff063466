"""The command ``tfx-feeder serve``."""

import http.client
import json
import re
import signal
import subprocess
import sys
import threading

import pytest
from click.testing import CliRunner

from tests.serving.server.saved_models import save
from tfx_feeder.pipeline.cli.main import main

PROGRAM = [sys.executable, "-c", "from tfx_feeder.pipeline.cli.main import main; main()", "serve"]
FREE = ["--grpc-port", "0", "--rest-port", "0"]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "scaled"
    folder.mkdir()
    save(folder / "1", factor=1.0)
    return folder


def start(*words):
    process = subprocess.Popen(
        [*PROGRAM, *map(str, words), *FREE], stdout=subprocess.PIPE, text=True
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "REST http" in line:
            break
    port = int(re.search(r"REST http://127.0.0.1:(\d+)", "".join(lines))[1])
    return process, port, lines


def ask(port, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST" if body else "GET", path, json.dumps(body) if body else None)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


@pytest.mark.slow
def test_a_pushed_version_takes_over_and_sigterm_answers_what_is_in_progress(folder):
    process, port, lines = start(folder)
    try:
        assert "scaled: version 1\n" in "".join(lines)
        predict = {"instances": [[1, 2]]}
        assert ask(port, "/v1/models/scaled:predict", predict) == {"predictions": [[1, 2]]}
        failures, stop = [], threading.Event()

        def client():
            while not stop.is_set():
                answer = ask(port, "/v1/models/scaled:predict", predict)
                if "predictions" not in answer:
                    failures.append(answer)

        thread = threading.Thread(target=client)
        thread.start()
        save(folder / "2", factor=2.0)
        while ask(port, "/v1/models/scaled:predict", predict) != {"predictions": [[2, 4]]}:
            pass
        stop.set()
        thread.join()
        assert not failures
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "FOLDER: expected a folder, or --model-config-file"),
        (["nowhere"], "FOLDER: expected a folder of versions"),
        ([".", "--versions", "newest"], "--versions: expected latest"),
        ([".", "--label", "stable"], "--label: expected LABEL=VERSION"),
        ([".", "--timeout", "soon"], "--timeout"),
        ([".", "--name", "a/b"], "name: expected a name without"),
        ([".", "--max-request-mb", "0"], "max_request_mb"),
    ],
)
def test_wrong_calls_are_one_line(words, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["serve", *words])
    assert done.exit_code == 2, done.output
    [line] = done.stderr.splitlines()
    assert line.startswith(f"Error: {reason}")
