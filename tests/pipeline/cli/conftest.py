"""Fixtures of the command line: a store with files, and functions that run commands on it."""

import contextlib
import json
import shutil
import sqlite3
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from tests.mlmd_store import StoreWithFiles
from tests.pipeline.cli.reference_runs import write_runs
from tfx_feeder.pipeline.cli.main import main


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path_factory, monkeypatch):
    """Keeps ``gc`` away from the temporary folders of other processes."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """The three runs, for tests that change nothing."""
    return write_runs(tmp_path_factory.mktemp("reference"))


@pytest.fixture
def own_reference(reference, tmp_path):
    """A copy of the three runs, for tests that change something."""
    # Writing a store takes seconds.
    folder = shutil.copytree(reference.folder, tmp_path / "runs")
    with contextlib.closing(sqlite3.connect(folder / "metadata.sqlite")) as database, database:
        for column in ("Artifact.uri", "ArtifactProperty.string_value"):
            table, name = column.split(".")
            moved = (str(reference.folder), str(folder))
            database.execute(f"UPDATE {table} SET {name} = replace({name}, ?, ?)", moved)
    store = StoreWithFiles(folder)
    return SimpleNamespace(
        store=store, folder=folder, first=reference.first, second=reference.second
    )


@pytest.fixture
def ask(reference):
    """Returns a function that runs ``tfx-feeder`` on a store, the reference by default."""

    def call(*arguments: object, store: Path | None = None, status: int = 0) -> Result:
        where = ("--store", store or reference.folder)
        done = CliRunner().invoke(main, [str(word) for word in (*arguments, *where)])
        assert done.exit_code == status, done.output
        return done

    return call


@pytest.fixture
def ask_json(ask):
    """Returns a function that runs ``tfx-feeder … --json`` and parses its output."""

    def call(*arguments: object, store: Path | None = None):
        return json.loads(ask(*arguments, "--json", store=store).stdout)

    return call
