"""Commands on a store written by stock TFX components."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three runs of a stock pipeline: pushed, not blessed, failed."""
    folder = tmp_path_factory.mktemp("penguin")
    done = subprocess.run(
        [sys.executable, HERE / "stock_penguin.py", folder],
        env=os.environ | {"PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return folder


def test_runs_and_what_came_of_them(ask, store):
    failed, not_blessed, pushed = (
        line for line in ask("runs", store=store).stdout.splitlines() if " ago" in line
    )
    assert "Trainer failed" in failed
    assert "not blessed" in not_blessed
    assert "live" in pushed


def test_a_failed_run_shows_how_far_it_got(ask, ask_json, store):
    nodes = ask_json("run", "latest", store=store)["nodes"]
    states = {node["node"]: node["state"] for node in nodes}
    assert states["Trainer"] == "FAILED"
    assert states["CsvExampleGen"] == "CACHED"
    assert "Trainer failed: " in ask("run", "latest", store=store).stdout


def test_models_and_why_one_was_not_blessed(ask, ask_json, store):
    second, first = ask_json("models", store=store)
    assert first["version"]["blessed"] is True
    assert first["metric"]["candidate"] > 0.8
    assert second["version"]["blessed"] is False
    [reason] = second["reasons"]
    assert reason.startswith("not blessed: accuracy on all examples: 0.")
    output = ask("why", second["version"]["model"]["id"], store=store).stdout
    assert "Pusher pushes only blessed models: the Evaluator did not bless this one." in output
    assert "input single_split: xor checksum: " in output


def test_a_model_is_traced_back_to_the_file(ask, store):
    output = ask("lineage", "live", store=store).stdout
    assert f"input files: {store}/data/*" in output
    assert "run fn: stock_penguin.run_fn" in output
    assert "by CsvExampleGen" in output
    assert "PushedModel" in ask("lineage", "live", "--down", store=store).stdout


def test_a_stock_trainer_leaves_no_history(ask, store):
    done = ask("history", "latest", store=store, status=1)
    assert "has no training history: its trainer does not write one" in done.stderr


def test_artifacts_with_properties_of_every_kind(ask, ask_json, store):
    types = {row["type_name"] for row in ask_json("artifacts", store=store)}
    assert {"Examples", "ExampleStatistics", "Schema", "Model", "PushedModel"} <= types
    for type_name in types:
        assert ask_json("artifacts", type_name, store=store)
