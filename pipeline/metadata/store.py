"""Opens ML Metadata stores: an SQLite file, MySQL or PostgreSQL."""
# The client names its messages at run time only.
# pyright: reportAttributeAccessIssue=false, reportPrivateImportUsage=false

import json
import os
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2 as pb

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.metadata.env import PASSWORD_VARIABLE
from tfx_feeder.pipeline.metadata.types import RESULT_PROPERTY

FILE_NAME = "metadata.sqlite"
"""Name of the store in a pipeline's root folder."""

_EXPECTED = (
    f"the SQLite file of an ML Metadata store, a folder with {FILE_NAME} in it, "
    "mysql://USER@HOST:PORT/DATABASE or postgresql://USER@HOST:PORT/DATABASE"
)


def open_store(target: str | Path) -> mlmd.MetadataStore:
    """Opens a store for reading.

    An SQLite file is opened read-only. The client knows no such mode for database servers; nothing
    here writes to them.

    Args:
        target: SQLite file, folder with ``metadata.sqlite`` in it, or the URL of a database server.
            A password is taken from the URL or from ``TFX_FEEDER_STORE_PASSWORD``.

    Raises:
        ConfigError: There is no store, it cannot be read, or another release wrote it.
    """
    url = urlsplit(str(target))
    if url.scheme in _SERVERS:
        return _connect(_server_config(url), _without_password(url))
    if "://" in str(target):
        raise ConfigError("store", received=_without_password(url), expected=_EXPECTED)
    path = Path(target)
    if path.is_dir():
        path = path / FILE_NAME
    _check_file(path)
    return _connect(_sqlite_config(path, pb.SqliteMetadataSourceConfig.READONLY), str(path))


def writable(target: str | Path) -> pb.ConnectionConfig:
    """Returns a connection for writing, which makes the store if it does not exist.

    Args:
        target: As for ``open_store``.

    Raises:
        ConfigError: It names no store.
    """
    url = urlsplit(str(target))
    if url.scheme in _SERVERS:
        return _server_config(url)
    if "://" in str(target):
        raise ConfigError("store", received=_without_password(url), expected=_EXPECTED)
    path = Path(target)
    path = path / FILE_NAME if path.is_dir() else path
    return _sqlite_config(path, pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE)


def make_store(target: str | Path) -> mlmd.MetadataStore:
    """Opens a store for reading and writing; makes it if it does not exist.

    Args:
        target: As for ``open_store``.

    Raises:
        ConfigError: It cannot be read, or another release wrote it.
    """
    return _connect(writable(target), _without_password(urlsplit(str(target))))


def close(store: mlmd.MetadataStore, run_id: str, reason: str, node: str | None = None) -> None:
    """Closes what a run that was interrupted, or failed, left open.

    Executions that were running become cancelled. Those that failed get the reason, which TFX does
    not take down where the executor ran in its own process.

    Args:
        store: Open for writing.
        run_id: Name of the run.
        reason: What went wrong, in one line.
        node: Name of the node's context to which this is limited; ``None``: all nodes.
    """
    run = store.get_context_by_type_and_name("pipeline_run", run_id)
    if run is None:
        return
    changed = []
    for execution in store.get_executions_by_context(run.id):
        contexts = store.get_contexts_by_execution(execution.id) if node else ()
        if node and node not in [context.name for context in contexts]:
            continue
        if execution.last_known_state == pb.Execution.RUNNING:
            execution.last_known_state = pb.Execution.CANCELED
        elif execution.last_known_state != pb.Execution.FAILED:
            continue
        elif RESULT_PROPERTY not in execution.custom_properties:
            result = json.dumps({"resultMessage": reason})
            execution.custom_properties[RESULT_PROPERTY].string_value = result
        changed.append(execution)
    store.put_executions(changed)


def _connect(config: pb.ConnectionConfig, shown: str) -> mlmd.MetadataStore:
    try:
        return mlmd.MetadataStore(config)
    except Exception as error:  # Of a type that differs from release to release.
        raise ConfigError(
            "store",
            received=shown,
            expected="an ML Metadata store that this release can read",
            fix=f"ML Metadata {mlmd.__version__} says: {_sentence(error)} "
            "Name another store, or use the release that wrote this one.",
        ) from error


def _check_file(path: Path) -> None:
    """Tells apart what the client has one puzzling error for."""
    expected = _EXPECTED
    if not path.is_file():
        fix = "Nothing is there. Run a pipeline first, or name its store."
    elif path.stat().st_size == 0:
        fix = "The file is empty. Run a pipeline first, or name another store."
    elif not _is_store(path):
        fix, expected = "The file holds something else.", "an ML Metadata store"
    else:
        return
    raise ConfigError("store", received=str(path), expected=expected, fix=fix)


def _is_store(path: Path) -> bool:
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        return database.execute("SELECT 1 FROM MLMDEnv").fetchone() is not None
    except sqlite3.OperationalError as error:
        # A store that is being written to is a store.
        return "locked" in str(error)
    except sqlite3.DatabaseError:
        return False
    finally:
        database.close()


def _sqlite_config(path: Path, mode: int) -> pb.ConnectionConfig:
    config = pb.ConnectionConfig()
    config.sqlite.filename_uri = str(path)
    config.sqlite.connection_mode = mode
    return config


def _mysql(url: SplitResult, password: str) -> pb.ConnectionConfig:
    return pb.ConnectionConfig(
        mysql=pb.MySQLDatabaseConfig(
            host=url.hostname,
            port=url.port or 3306,
            database=url.path.strip("/"),
            user=unquote(url.username or ""),
            password=password,
        )
    )


def _postgresql(url: SplitResult, password: str) -> pb.ConnectionConfig:
    return pb.ConnectionConfig(
        postgresql=pb.PostgreSQLDatabaseConfig(
            host=url.hostname,
            port=str(url.port or 5432),
            dbname=url.path.strip("/"),
            user=unquote(url.username or ""),
            password=password,
            # PostgreSQL has no "create unless it exists"; who runs the server makes the database.
            skip_db_creation=True,
        )
    )


_SERVERS: Mapping[str, Callable[[SplitResult, str], pb.ConnectionConfig]] = {
    "mysql": _mysql,
    "postgresql": _postgresql,
}


def _server_config(url: SplitResult) -> pb.ConnectionConfig:
    try:
        complete = url.hostname and url.path.strip("/") and (url.port is None or url.port > 0)
    except ValueError:  # A port that is no number.
        complete = False
    if not complete:
        raise ConfigError("store", received=_without_password(url), expected=_EXPECTED)
    password = unquote(url.password or "") or os.environ.get(PASSWORD_VARIABLE, "")
    return _SERVERS[url.scheme](url, password)


def _without_password(url: SplitResult) -> str:
    if url.password is None:
        return url.geturl()
    return url.geturl().replace(f":{url.password}@", ":***@", 1)


def _sentence(error: Exception) -> str:
    return f"{str(error).strip().splitlines()[0].split('. ')[0].rstrip('.: ')}."
