"""Answers of ``run-node`` without TFX: the node has already succeeded, or cannot run."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mlmd_store import StoreBuilder
from tfx_feeder.pipeline.orchestration import compiled_pipeline
from tfx_feeder.pipeline.orchestration.compiled_pipeline import CompiledPipeline

HEAVY = ("tfx", "tensorflow", "apache_beam")
CALL = f"""
import sys
from tfx_feeder.pipeline.cli.main import main
try:
    main()
finally:
    assert not set({HEAVY}) & set(sys.modules), "something heavy was imported"
"""


def node(name, *upstream):
    return {"pipeline_node": {"node_info": {"id": name}, "upstream_nodes": list(upstream)}}


@pytest.fixture
def path(tmp_path):
    """A compiled pipeline, of which one run came as far as a push that was not blessed."""
    config = {"filename_uri": str(tmp_path / "metadata.sqlite"), "connection_mode": "READWRITE"}
    connection = {"@type": "type.googleapis.com/ml_metadata.ConnectionConfig", "sqlite": config}
    compiled_pipeline.write(
        CompiledPipeline(
            {
                "pipeline_info": {"id": "p"},
                "runtime_spec": {"pipeline_root": {"field_value": {"string_value": str(tmp_path)}}},
                "deployment_config": {"metadata_connection_config": connection},
                "nodes": [node("Gen"), node("Trainer", "Gen"), node("Pusher"), node("Card")],
            }
        ),
        tmp_path / "p.json",
    )
    store = StoreBuilder(tmp_path / "metadata.sqlite")
    run = store.run("1")
    for name in ("Gen", "Card"):
        store.execution(run, name, "COMPLETE")
    not_pushed = {"pushed_model": store.artifact("PushedModel", pushed=0)}
    store.execution(run, "Pusher", "COMPLETE", outputs=not_pushed)
    return tmp_path / "p.json"


def run_node(path, name, *more, run_id="1"):
    arguments = ["run-node", "--ir", str(path), "--node", name, "--run-id", run_id, *more]
    return subprocess.run(
        [sys.executable, "-c", CALL, *arguments], capture_output=True, text=True, timeout=120
    )


def test_what_has_succeeded_is_reported_at_once(path):
    done = run_node(path, "Gen")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines()[-1].endswith("Gen has succeeded in run 1 already.")


def test_nothing_pushed_has_a_status_of_its_own(path):
    assert run_node(path, "Pusher").returncode == 3
    assert run_node(path, "Pusher", "--unblessed-ok").returncode == 0


def other_format(path):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))


def other_release(path):
    with sqlite3.connect(path.with_name("metadata.sqlite")) as database:
        database.execute("UPDATE MLMDEnv SET schema_version = 999")


def no_folder(path):
    path.with_name("a file").touch()
    compiled = json.loads(path.read_text())
    root = {"field_value": {"string_value": str(path.with_name("a file"))}}
    compiled["pipeline"]["runtime_spec"]["pipeline_root"] = root
    path.write_text(json.dumps(compiled))


def other_pipeline(path):
    compiled = json.loads(path.read_text())
    compiled["pipeline"]["pipeline_info"]["id"] = "another"
    path.write_text(json.dumps(compiled))


NOWHERE = ("--store", "postgresql://me:secret@127.0.0.1:9/none", "--connect-timeout", "1")


@pytest.mark.parametrize(
    ("spoil", "name", "more", "status", "said"),
    [
        (None, "Nope", (), 2, "Error: node: expected one of Gen, Trainer, Pusher, Card."),
        (None, "Trainer", ("--run-id", "2"), 2, "Run first: Gen."),
        (None, "Gen", ("--store", "postgresql://host"), 2, "postgresql://USER@HOST:PORT/DATABASE"),
        (None, "Gen", NOWHERE, 4, "Error: ML Metadata at 127.0.0.1:9 could not be reached within"),
        (Path.unlink, "Gen", (), 2, "No such file"),
        (other_format, "Gen", (), 2, "version 99 of the format"),
        (other_release, "Gen", (), 2, "database version 999 is greater than"),
        (no_folder, "Gen", (), 2, "root: expected a writable folder"),
        (other_pipeline, "Trainer", (), 2, "Run first: Gen."),
    ],
)
def test_what_cannot_run_is_reported_in_one_line(path, spoil, name, more, status, said):
    if spoil:
        spoil(path)
    done = run_node(path, name, *more)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
    assert said in done.stderr.splitlines()[-1]


def test_log_can_be_lines_of_json(path):
    done = run_node(path, "Trainer", "--json-logs", *NOWHERE)
    # The client's C++ code alone knows why a server refuses, and writes as it likes.
    logged = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert {(line["node"], line["run_id"]) for line in logged} == {("Trainer", "1")}
    assert [line["levelname"] for line in logged][-2:] == ["WARNING", "ERROR"], "tried again"
    assert "could not be reached" in logged[-1]["message"]
