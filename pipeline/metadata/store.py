"""Connections to ML Metadata stores: an SQLite file, MySQL or PostgreSQL."""
# The client defines its messages at run time.
# pyright: reportAttributeAccessIssue=false, reportPrivateImportUsage=false

import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2 as pb

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.metadata.env import PASSWORD_VARIABLE, without_password
from tfx_feeder.pipeline.metadata.types import RESULT_PROPERTY

FILE_NAME = "metadata.sqlite"
"""File name of the store in a pipeline's root folder."""

_CONFLICT = "Concurrent writes aborted"
_MAX_RETRY_S = 10
_DATABASE = re.compile(r"/+[^/@\s]+/*")
_EXPECTED = (
    f"the SQLite file of an ML Metadata store, a folder with {FILE_NAME} in it, "
    "mysql://USER@HOST:PORT/DATABASE or postgresql://USER@HOST:PORT/DATABASE"
)


def open_store(target: str | Path) -> mlmd.MetadataStore:
    """Opens a store for reading.

    An SQLite file is opened read-only. The client has no such mode for database servers.

    Args:
        target: SQLite file, folder that contains ``metadata.sqlite``, or URL of a database server.
            The password comes from the URL or from ``TFX_FEEDER_STORE_PASSWORD``.

    Raises:
        ConfigError: There is no store, it cannot be read, or it has the schema of another release.
    """
    url = _split(target)
    if url.scheme in _SERVERS:
        return _connect(_server_config(url), without_password(url.geturl()))
    path = _sqlite_path(target)
    _check_file(path)
    return _connect(_sqlite_config(path, pb.SqliteMetadataSourceConfig.READONLY), str(path))


def writable_config(target: str | Path) -> pb.ConnectionConfig:
    """Returns a connection configuration for writing; connecting creates a missing store.

    Args:
        target: Store as for ``open_store``.

    Raises:
        ConfigError: ``target`` is not a valid store.
    """
    url = _split(target)
    if url.scheme in _SERVERS:
        return _server_config(url)
    path = _sqlite_path(target)
    return _sqlite_config(path, pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE)


def store_folder(target: str | Path) -> Path | None:
    """Returns the folder of an SQLite store; ``None`` for a database server.

    Args:
        target: Store as for ``open_store``.
    """
    if "://" in str(target):
        return None
    path = Path(target).absolute()
    return path if path.is_dir() else path.parent


def is_beside_other_store(path: Path, folder: Path | None) -> bool:
    """Returns True if files lie beside another SQLite store, as those of a copied store do.

    Args:
        path: Files that a store refers to.
        folder: Folder of that store; ``None`` for a database server.
    """
    beside = (parent for parent in path.parents if (parent / FILE_NAME).is_file())
    nearest = next(beside, None)
    return folder is not None and nearest is not None and not nearest.samefile(folder)


def create_store(target: str | Path) -> mlmd.MetadataStore:
    """Opens a store for reading and writing, and creates it if it does not exist.

    Args:
        target: Store as for ``open_store``.

    Raises:
        ConfigError: The store cannot be read, or it has the schema of another release.
    """
    return _connect(writable_config(target), without_password(str(target)))


def close_run(store: mlmd.MetadataStore, run_id: str, reason: str, node: str | None = None) -> None:
    """Finalizes the executions of an interrupted or failed run.

    Running executions become canceled. Failed executions get the reason, because TFX does not
    record the error of an executor that ran in the process of TFX.

    Args:
        store: Store, open for writing.
        run_id: Name of the run.
        reason: Error message, in one line.
        node: Name of the node context to restrict this to; ``None``: all nodes.
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
    until = time.monotonic() + _MAX_RETRY_S
    while True:
        try:
            return mlmd.MetadataStore(config)
        except Exception as error:  # The type differs between releases.
            # The client repeats its other calls if another process writes at the same moment.
            if _CONFLICT in str(error) and time.monotonic() < until:
                continue
            raise _unreadable(shown, error) from error


def _unreadable(shown: str, error: Exception) -> ConfigError:
    return ConfigError(
        "store",
        received=shown,
        expected="an ML Metadata store that this release can read",
        fix=f"ML Metadata {mlmd.__version__} reports: {_sentence(error)} "
        "Use another store, or the release that wrote this one.",
    )


def _split(target: str | Path) -> SplitResult:
    """Splits a URL; a path becomes the path of a URL without a scheme.

    Raises:
        ConfigError: The URL is malformed, or names another kind of server.
    """
    try:
        url = urlsplit(str(target))
    except ValueError as error:  # Such as an unclosed bracket; it may contain a password.
        scheme = str(target).partition(":")[0]
        raise ConfigError(
            "store", received=f"{scheme}:...", expected=_EXPECTED, fix=f"{error}."
        ) from error
    if url.scheme not in _SERVERS and "://" in str(target):
        raise ConfigError("store", received=without_password(url.geturl()), expected=_EXPECTED)
    return url


def _sqlite_path(target: str | Path) -> Path:
    """Returns the path of an SQLite file, which may not exist yet.

    Raises:
        ConfigError: The file system or the ML Metadata client does not take such a name.
    """
    path = Path(target)
    try:
        path = path / FILE_NAME if path.is_dir() else path
        path.exists()
        str(path).encode()
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "The name is not UTF-8"
        raise ConfigError(
            "store", received=str(target), expected=_EXPECTED, fix=f"{reason}."
        ) from error
    return path


def _check_file(path: Path) -> None:
    """Raises a specific error where the client would raise the same one for every cause."""
    expected = _EXPECTED
    if path.is_dir():
        fix = "It is a folder. Pass the SQLite file."
    elif not path.is_file():
        fix = "The file does not exist. Run a pipeline first, or pass its store."
    elif path.stat().st_size == 0:
        fix = "The file is empty. Run a pipeline first, or pass another store."
    elif not _is_store(path):
        fix, expected = "The file is not an ML Metadata store.", "an ML Metadata store"
    else:
        return
    raise ConfigError("store", received=without_password(str(path)), expected=expected, fix=fix)


def _is_store(path: Path) -> bool:
    try:
        return _has_environment(path, "ro")
    except sqlite3.OperationalError as error:
        # The file is locked while another process writes to the store.
        if "locked" in str(error):
            return True
    except sqlite3.DatabaseError:
        return False
    if not path.with_name(f"{path.name}-journal").exists():
        return False
    # A process ended in the middle of a transaction, by a kill or a power failure. SQLite rolls it
    # back as soon as the file is opened for writing, unless another process is writing.
    with suppress(sqlite3.DatabaseError):
        return _has_environment(path, "rw")
    return False


def _has_environment(path: Path, mode: str) -> bool:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True)) as database:
        return database.execute("SELECT 1 FROM MLMDEnv").fetchone() is not None


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
            user=_quoted(unquote(url.username or "")),
            password=_quoted(password),
            # PostgreSQL lacks CREATE DATABASE IF NOT EXISTS; an administrator creates it.
            skip_db_creation=True,
        )
    )


def _quoted(value: str) -> str:
    """Returns a value of a connection string of PostgreSQL, which the client does not quote."""
    if not re.search(r"[\s\\']", value):
        return value
    escaped = re.sub(r"([\\'])", r"\\\1", value)
    return f"'{escaped}'"


_SERVERS: Mapping[str, Callable[[SplitResult, str], pb.ConnectionConfig]] = {
    "mysql": _mysql,
    "postgresql": _postgresql,
}


def _server_config(url: SplitResult) -> pb.ConnectionConfig:
    try:
        complete = url.hostname and (url.port is None or url.port > 0)
    except ValueError:  # The port is not a number.
        complete = False
    if url.scheme == "postgresql":
        complete = complete and url.username  # Without one, the client ends the process.
    # The client has no options: those of a URL, such as for TLS, would have no effect.
    if not complete or not _DATABASE.fullmatch(url.path) or url.query or url.fragment:
        raise ConfigError("store", received=without_password(url.geturl()), expected=_EXPECTED)
    password = unquote(url.password or "") or os.environ.get(PASSWORD_VARIABLE, "")
    return _SERVERS[url.scheme](url, password)


def _sentence(error: Exception) -> str:
    return f"{str(error).strip().splitlines()[0].split('. ')[0].rstrip('.: ')}."
