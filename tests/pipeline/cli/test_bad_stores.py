"""All commands on missing, empty, newer and incomplete stores: an answer or a one-line error."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from click.testing import CliRunner, Result

from tests.mlmd_store import StoreWithFiles
from tfx_feeder.pipeline.cli.main import main

LISTS = {"runs": (), "models": (), "artifacts": (), "gc": ()}
QUESTIONS = {
    "run": ("latest",),
    "history": ("latest",),
    "lineage": ("latest",),
    "slices": ("latest",),
    "why": ("latest",),
    "diff": ("previous", "latest"),
    "report": ("latest",),
    "compare": ("previous", "latest"),
}
HEAVY = ("tensorflow", "tfx", "keras", "apache_beam", "numpy", "tensorflow_model_analysis")
COMMANDS = [(command, *arguments) for command, arguments in (LISTS | QUESTIONS).items()]


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def call(*arguments: object, store: object) -> Result:
    done = CliRunner().invoke(main, [str(word) for word in (*arguments, "--store", store)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done


def rejection(done: Result, status: int = 2) -> str:
    assert done.exit_code == status, done.output
    [line] = [line for line in done.output.splitlines() if line]
    assert line.startswith("Error: ")
    return line


@pytest.fixture
def empty(tmp_path):
    StoreWithFiles(tmp_path / "empty")
    return tmp_path / "empty"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_store(command, tmp_path):
    assert "file does not exist" in rejection(call(*command, store=tmp_path / "none.sqlite"))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_store_of_a_newer_schema(command, empty):
    with closing(sqlite3.connect(empty / "metadata.sqlite")) as database, database:
        database.execute("UPDATE MLMDEnv SET schema_version = 999")
    assert "version 999" in rejection(call(*command, store=empty))


@pytest.mark.parametrize("command", QUESTIONS)
def test_questions_to_an_empty_store(command, empty):
    assert "the store has no" in rejection(call(command, *QUESTIONS[command], store=empty))


@pytest.mark.parametrize("command", LISTS)
def test_lists_of_an_empty_store(command, empty):
    assert call(command, store=empty).exit_code == 0
    assert call(command, "--json", store=empty).stdout.strip()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_artifacts_whose_files_are_gone(command, own_reference):
    shutil.rmtree(own_reference.folder / "artifacts")
    done = call(*command, store=own_reference.folder)
    causes = {"history": "No training history can be read", "slices": "No metrics in TFRecord"}
    if command[0] in causes:
        assert causes[command[0]] in rejection(done, status=1)
    else:
        assert done.exit_code == 0, done.output


def test_nothing_heavy_is_needed(own_reference):
    code = f"""
import sys
sys.modules.update(dict.fromkeys({HEAVY}))  # importing one raises then
from tfx_feeder.pipeline.cli.main import main
main(sys.argv[1:])
"""
    store = ("--store", str(own_reference.folder))
    for command in (("diff", "previous", "latest"), ("gc",), ("gc", "--yes")):
        done = subprocess.run(
            [sys.executable, "-c", code, *command, *store], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
