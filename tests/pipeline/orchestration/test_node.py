"""Nodes run one by one, each at most once to completion, despite failures in between."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tfx_feeder.pipeline.metadata.describe import error_message
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.orchestration.compiled_pipeline import InvalidNodeError

pytestmark = pytest.mark.slow  # Everything here imports TFX.


@pytest.fixture
def run(compiled):
    from tfx_feeder.pipeline.orchestration.node import run_node

    def run(*nodes, file=compiled, run_id="1", **options):
        return [run_node(file, node, run_id, **options).name for node in nodes]

    return run


def times(root, node):
    path = root / f"ran-{node}"
    return len(path.read_text().split()) if path.exists() else 0


def states(root, run_id="1"):
    return [(e.node, e.state) for e in Lineage.open(root).executions(run_id)]


def test_nodes_in_order_make_a_whole_run_with_resolver_and_condition(root, run, compiled):
    assert run(*compiled.upstream) == ["DONE"] * 7
    assert sorted(states(root)) == [
        ("Gen", "COMPLETE"),
        ("Judge", "COMPLETE"),
        ("Push", "COMPLETE"),
        ("Sibling", "COMPLETE"),
        ("Tell", "COMPLETE"),
        ("latest", "COMPLETE"),
    ]


def test_node_that_succeeded_is_not_run_again(root, run):
    assert run("Gen", "Judge", "latest") == ["DONE"] * 3
    before = states(root)
    assert run("Gen", "Judge", "latest") == ["DONE"] * 3
    assert states(root) == before
    assert times(root, "Judge") == 1
    run("Gen", run_id="2")
    assert times(root, "Gen") == 2, "another run is another matter"


def test_run_of_another_pipeline_may_have_the_same_id(root, run, compiled):
    renamed = re.sub(r'"tiny(?=[".])', '"other', json.dumps(compiled.pipeline))
    other = dataclasses.replace(compiled, pipeline=json.loads(renamed))
    assert run("Gen", "Judge") == ["DONE"] * 2
    with pytest.raises(InvalidNodeError, match="Run first: Gen"):
        run("Judge", file=other)
    assert run("Gen", "Judge", file=other) == ["DONE"] * 2
    assert (times(root, "Gen"), times(root, "Judge")) == (2, 2)


def test_failed_node_is_run_again_and_its_outputs_are_used(root, run):
    (root / "fail-Judge").touch()
    run("Gen")
    for _ in range(2):
        with pytest.raises(Exception, match="asked to fail"):
            run("Judge")
    assert states(root) == [("Gen", "COMPLETE"), ("Judge", "FAILED")]
    errors = [error_message(execution) for execution in Lineage.open(root).executions("1")]
    assert errors == ["", "RuntimeError: Judge was asked to fail"]
    (root / "fail-Judge").unlink()
    assert run("Judge", "latest", "Push") == ["DONE"] * 3
    assert ("Judge", "COMPLETE") in states(root)


def test_missing_upstream_is_named(run):
    with pytest.raises(InvalidNodeError, match="Run first: Gen"):
        run("Judge")
    run("Gen")
    with pytest.raises(InvalidNodeError, match="run 2"):
        run("Judge", run_id="2")


def test_exit_handler_runs_after_failures(root, run):
    (root / "fail-Gen").touch()
    with pytest.raises(Exception, match="asked to fail"):
        run("Gen")
    assert run("Tell") == ["DONE"]


def test_unblessed_model_has_a_status_of_its_own(run, compiled):
    import tiny_pipeline

    from tfx_feeder.pipeline.orchestration.compiler import compile_pipeline

    file = compile_pipeline(tiny_pipeline.create_unblessed())
    assert run("Gen", "Judge", "latest", "Push", "Push", file=file)[-2:] == ["NOT_BLESSED"] * 2


def test_root_that_cannot_be_written_is_refused(root, run):
    (root / "artifacts").write_text("a file")
    with pytest.raises(InvalidNodeError, match="a writable folder"):
        run("Gen")


def test_store_that_does_not_answer_is_tried_for_a_while(run):
    from tfx_feeder.pipeline.orchestration.node import Status, StoreUnreachableError, status_of

    with pytest.raises(StoreUnreachableError, match="within 1 s") as error:
        run("Gen", store="postgresql://nobody@127.0.0.1:9/none", connect_timeout_s=1)
    assert status_of(error.value) is Status.UNREACHABLE


def command(path, node, *more):
    module = "from tfx_feeder.pipeline.cli.main import main; main()"
    arguments = ["run-node", "--ir", str(path), "--node", node, "--run-id", "1", *more]
    return [sys.executable, "-c", module, *arguments]


def start(path, node):
    process = subprocess.Popen(
        command(path, node), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while not times(path.parent, node) and time.monotonic() < deadline:
        assert process.poll() is None, "the node ended before it ran"
        time.sleep(0.1)
    return process


def test_killed_node_is_run_again_and_a_second_runner_is_refused_meanwhile(root, run, path):
    run("Gen")
    (root / "wait-Judge").touch()
    first = start(path, "Judge")
    with pytest.raises(InvalidNodeError, match="no other process"):
        run("Judge")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert ("Judge", "RUNNING") in states(root)
    (root / "wait-Judge").unlink()
    assert run("Judge", "latest", "Push") == ["DONE"] * 3
    assert [s for s in states(root) if s[0] == "Judge"] == [("Judge", "COMPLETE")]
    assert times(root, "Judge") == 2


def test_stopped_node_is_closed_and_can_be_run_again(root, run, path):
    (root / "wait-Gen").touch()
    stopped = start(path, "Gen")
    stopped.terminate()
    assert stopped.wait(60) == 1
    assert states(root) == [("Gen", "CANCELED")]
    (root / "wait-Gen").unlink()
    assert run("Gen", "Judge") == ["DONE"] * 2


def test_siblings_run_at_the_same_time(root, run, path):
    run("Gen")
    for node in ("Judge", "Sibling"):
        (root / f"wait-{node}").touch()
    processes = [start(path, node) for node in ("Judge", "Sibling")]
    for node in ("Judge", "Sibling"):
        (root / f"wait-{node}").unlink()
    assert [process.wait(120) for process in processes] == [0, 0]
    assert {("Judge", "COMPLETE"), ("Sibling", "COMPLETE")} <= set(states(root))


def test_command_line_says_in_one_line_what_went_wrong(root, path):
    (root / "fail-Gen").touch()
    ran = subprocess.run(command(path, "Gen", "--json-logs"), capture_output=True, text=True)
    assert ran.returncode == 1
    logged = json.loads(ran.stderr.splitlines()[-1])
    assert logged["message"] == "Failed in Gen: RuntimeError: Gen was asked to fail"
    assert "Traceback" in logged["exc_info"]
    assert (logged["node"], logged["run_id"]) == ("Gen", "1")
