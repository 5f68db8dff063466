"""Stores are opened or rejected with the reason."""

import sqlite3
import subprocess
import sys

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from tests.mlmd_store import StoreBuilder
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.metadata.describe import error_message
from tfx_feeder.pipeline.metadata.env import without_password
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.store import close_run, create_store, open_store


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metadata.sqlite"


def test_store_is_made_when_it_is_to_be_written(path):
    assert create_store(path).get_contexts() == []
    assert open_store(path).get_contexts() == []


def test_folder_stands_for_the_store_in_it(path):
    StoreBuilder(path).run("1")
    assert Lineage.open(path.parent).run_ids() == ["1"]


def test_open_store_cannot_be_written(path):
    StoreBuilder(path)
    store = open_store(path)
    new = pb.ContextType(name="new")
    with pytest.raises(Exception, match="readonly"):
        store.put_context_type(new)


def test_interrupted_executions_are_closed_and_finished_ones_left(path):
    StoreBuilder(path).whole_run("1", span=1, trained="RUNNING", pushed=None)
    close_run(create_store(path), "1", "interrupted")
    states = [execution.state for execution in Lineage.open(path).executions("1")]
    assert states == ["COMPLETE", "COMPLETE", "CANCELED"]


def test_failed_execution_gets_the_reason_once(path):
    StoreBuilder(path).whole_run("1", span=1, trained="FAILED", pushed=None)
    for reason in ("the disk is full", "another reason"):
        close_run(create_store(path), "1", reason)
    executions = Lineage.open(path).executions("1")
    assert [error_message(execution) for execution in executions] == ["", "", "the disk is full"]


def test_store_of_a_newer_release_is_rejected_with_a_fix(path):
    StoreBuilder(path)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE MLMDEnv SET schema_version = 999")
    with pytest.raises(ConfigError, match=r"version 999 .*Use another store"):
        open_store(path)


def test_nothing_is_not_made_into_a_store(path):
    with pytest.raises(ConfigError, match="file does not exist"):
        open_store(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "The file is empty"), (b"something else" * 100, "not an ML Metadata store")],
)
def test_file_that_is_no_store_is_rejected(path, content, reason):
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason):
        open_store(path)


def test_database_of_another_program_is_rejected(path):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE anything (a)")
    with pytest.raises(ConfigError, match="not an ML Metadata store"):
        open_store(path)


@pytest.mark.parametrize(
    "url",
    [
        *("mysql://user@/nowhere", "postgresql://host", "http://host/db", "mysql://h:port/db"),
        *("postgresql://user:/x/y@host/db", "mysql://user@host/db?ssl=true", "mysql://host/db#x"),
        *("postgresql://host/db", "postgresql://:password@host/db"),
    ],
)
def test_url_that_names_no_database_is_rejected(url):
    with pytest.raises(ConfigError, match="store"):
        open_store(url)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://user:secret@host/db",
        "mysql:/user:secret@host/db",
        "mysql:user:secret@host/db",
        "mysql://user:sec@secret@host:x/db",
        "MySQL://user:secret@host/",
        "mysql://user@host/db?password=secret",
        "mysql://user@host/db?a=b&sslpassword=se@secret&c=secret",
        "mysql://user:secret@host/db?password=se@secret",
    ],
)
def test_passwords_are_not_shown(url):
    with pytest.raises(ConfigError, match=r":\*\*\*@host|=\*\*\*") as refused:
        open_store(url)
    assert "secret" not in str(refused.value)


UNFINISHED = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")  # Changed pages reach the file before the commit.
database.execute("BEGIN")
for number in range(1000):
    database.execute("CREATE TABLE IF NOT EXISTS filler (text TEXT)")
    database.execute("INSERT INTO filler VALUES (?)", ("x" * 1000,))
    database.execute("UPDATE Artifact SET uri = 'half'")
os._exit(1)
"""


def test_store_of_a_process_that_ended_in_a_transaction_is_read(tmp_path):
    builder = StoreBuilder(tmp_path / "metadata.sqlite")
    artifact_id = builder.artifact("Model")
    del builder
    path = tmp_path / "metadata.sqlite"
    subprocess.run([sys.executable, "-c", UNFINISHED, str(path)], check=False)
    assert path.with_name("metadata.sqlite-journal").stat().st_size
    [artifact] = open_store(tmp_path).get_artifacts()
    assert (artifact.id, artifact.uri) == (artifact_id, "/somewhere/Model")


def test_a_password_may_hold_any_character():
    assert (
        without_password("postgresql://user:/s@:/ecret@host/db") == "postgresql://user:***@host/db"
    )


@pytest.mark.parametrize("store", ["runs", "/a:b@c/metadata.sqlite", "mysql://user@host:3306/db"])
def test_stores_without_a_password_are_shown_as_they_are(store):
    assert without_password(store) == store
