"""Behavior that all commands on a store share."""

import json
import subprocess
import sys

import pytest

from tests.mlmd_store import StoreWithFiles

COMMANDS = (
    ["runs"],
    ["run", "latest"],
    ["models"],
    ["history", "latest"],
    ["lineage", "latest"],
    ["lineage", "100", "--down"],
    ["artifacts"],
    ["artifacts", "Model"],
    ["artifacts", "100000"],
    ["slices"],
    ["why", "latest"],
)
FOUND = [words for words in COMMANDS if words != ["artifacts", "100000"]]
HEAVY = ("tensorflow", "tfx", "keras", "apache_beam", "numpy", "tensorflow_model_analysis")
CALL_ALL = f"""
import json, sys
sys.modules.update(dict.fromkeys({HEAVY}))  # importing one raises then
from click.testing import CliRunner
from tfx_feeder.pipeline.cli.main import main
for words in json.loads(sys.argv[1]):
    done = CliRunner().invoke(main, [*words, "--store", sys.argv[2]])
    assert done.exit_code == 0, (words, done.output, done.exception)
"""


def test_no_command_needs_anything_heavy(reference):
    done = subprocess.run(
        [sys.executable, "-c", CALL_ALL, json.dumps(FOUND), reference.folder],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", FOUND, ids=" ".join)
def test_scripts_get_json(words, ask_json):
    assert ask_json(*words)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("holds", [None, b"", b"no database"], ids=["none", "empty", "text"])
def test_an_invalid_store_is_rejected_in_one_line(words, holds, ask, tmp_path):
    if holds is not None:
        (tmp_path / "metadata.sqlite").write_bytes(holds)
    done = ask(*words, store=tmp_path, status=2)
    assert done.stderr.startswith("Error: store: expected ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_an_empty_store_is_reported_in_one_line(words, ask, tmp_path):
    StoreWithFiles(tmp_path)
    lists = words in (["runs"], ["models"], ["artifacts"])
    done = ask(*words, store=tmp_path, status=0 if lists else 2)
    assert len((done.stdout if lists else done.stderr).splitlines()) == 1


def test_an_unknown_pipeline_is_rejected_by_name(ask):
    done = ask("runs", "--pipeline", "other", status=2)
    assert "Error: pipeline: expected one of p. Received: 'other'." in done.stderr
