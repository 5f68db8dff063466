"""Runs one node of a compiled pipeline in this process, at most once to completion.

TFX is imported only when a node has to run. Whether it has succeeded already, or cannot run yet,
is answered from ML Metadata alone.
"""

# The ML Metadata client defines its messages at run time.
# pyright: reportPrivateImportUsage=false, reportAttributeAccessIssue=false

import contextlib
import enum
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from importlib import import_module
from pathlib import Path
from typing import Any

import filelock
import ml_metadata as mlmd
import tenacity
from google.protobuf import json_format
from ml_metadata.proto import metadata_store_pb2 as pb

from tfx_feeder.common.errors import ConfigError, FeederError
from tfx_feeder.pipeline.metadata.integrity import check_outputs_are_known, forget_damaged
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.store import close_run, writable_config
from tfx_feeder.pipeline.metadata.types import SUCCEEDED, Execution
from tfx_feeder.pipeline.orchestration.compiled_pipeline import CompiledPipeline, InvalidNodeError
from tfx_feeder.pipeline.runner.launch import root_cause
from tfx_feeder.pipeline.runner.quiet_imports import quiet_imports

_LAUNCHER = "tfx_feeder.pipeline.orchestration.node_launcher"
_LOCKS = ".locks"
_OTHER_RELEASE = "MLMD database version"
_REGISTRATION_ATTEMPTS = 20
_CACHE_CONTEXT = {"name": "execution_cache"}
"""Type of the only context of a node that the compiled pipeline does not list."""
_SETTLED_AFTER = timedelta(minutes=5)
"""Age from which outputs are checked; the cache of a network file system may lag behind."""
_LOG = logging.getLogger(__name__)


class Status(enum.IntEnum):
    """Result of a node, and exit status of ``run-node``."""

    DONE = 0
    FAILED = 1
    BAD_CONFIG = 2
    NOT_BLESSED = 3
    UNREACHABLE = 4


class NodeFailedError(FeederError):
    """Raised when a node did not complete although its executor raised no error."""


class StoreUnreachableError(FeederError):
    """Raised when ML Metadata did not respond in time."""


def status_of(error: Exception) -> Status:
    """Returns the exit status for an error raised by ``run_node``."""
    if isinstance(error, StoreUnreachableError):
        return Status.UNREACHABLE
    # A ConfigError of an executor is a failure of the node: the same call may succeed later.
    return Status.BAD_CONFIG if isinstance(error, InvalidNodeError) else Status.FAILED


def run_node(
    compiled: CompiledPipeline,
    node_id: str,
    run_id: str,
    *,
    store: str | None = None,
    connect_timeout_s: float = 120.0,
) -> Status:
    """Runs a node unless it has already succeeded in this run.

    Args:
        compiled: The compiled pipeline.
        node_id: Id of the node.
        run_id: Id of the run, which all its nodes share.
        store: ML Metadata store that replaces the compiled one, as for ``open_store``; with it,
            the compiled file need not contain a password.
        connect_timeout_s: Seconds to wait for the ML Metadata store.

    Returns:
        ``DONE`` if the node succeeded or was skipped by a condition; ``NOT_BLESSED`` if a pusher
        had no blessed model to push.

    Raises:
        ConfigError: The root contains outputs that the store does not list.
        InvalidNodeError: The node does not exist, its upstream nodes have not run, another process
            is running it, or the root is not writable.
        StoreUnreachableError: ML Metadata did not respond in time.
        NodeFailedError: The inputs of the node could not be resolved.
        Exception: The executor failed; any type that it may raise.
    """
    compiled.check_node(node_id)
    connection = _connection_config(compiled, store)
    with _node_lock(compiled.root, node_id, run_id):
        opened = _connect(connection, connect_timeout_s)
        lineage = Lineage(opened, compiled.name)
        done = _latest(lineage, node_id, run_id)
        if done is not None and done.state in SUCCEEDED:
            _LOG.info("%s has succeeded in run %s already.", node_id, run_id)
            return _status(done)
        _check_upstream(compiled, lineage, node_id, run_id)
        quiet_imports(_LAUNCHER)
        check_outputs_are_known(opened, Path(compiled.root), [node_id])
        _register_types(opened, compiled, node_id)
        settled = datetime.now(timezone.utc) - _SETTLED_AFTER
        earlier = [a for a in lineage.outputs_of_node(node_id) if a.created_at < settled]
        for damaged in forget_damaged(opened, earlier):
            _LOG.warning("%s. It is not used any more.", damaged)
        try:
            import_module(_LAUNCHER).launch(compiled, node_id, run_id, connection)
        except BaseException as error:
            with contextlib.suppress(StoreUnreachableError):
                reopened = _connect(connection, connect_timeout_s)
                close_run(reopened, run_id, root_cause(error), f"{compiled.name}.{node_id}")
            raise
        # Reconnect: database servers close connections that are idle for as long as a training.
        reopened = _connect(connection, connect_timeout_s)
        result = _latest(Lineage(reopened, compiled.name), node_id, run_id)
    if result is None:
        _LOG.info("%s was skipped: a condition is not met.", node_id)
        return Status.DONE
    if result.state not in SUCCEEDED:
        raise NodeFailedError(f"{node_id} is {result.state}: its inputs could not be resolved.")
    return _status(result)


def _connection_config(compiled: CompiledPipeline, store: str | None) -> Any:
    """Returns the ``ConnectionConfig`` for ``store``, or the compiled one if ``store`` is None.

    Raises:
        InvalidNodeError: ``store`` does not name a store.
    """
    if store is not None:
        try:
            return writable_config(store)
        except ConfigError as error:
            raise InvalidNodeError(
                error.argument, received=error.received, expected=error.expected, fix=error.fix
            ) from error
    with _checking_file():
        config = dict(compiled.pipeline["deployment_config"]["metadata_connection_config"])
        message = getattr(pb, config.pop("@type").rpartition(".")[2])
        return json_format.ParseDict(config, message())


@contextlib.contextmanager
def _checking_file() -> Iterator[None]:
    """Reports missing and wrong parts of the compiled file.

    Raises:
        InvalidNodeError: The file is damaged.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError, json_format.Error) as error:
        raise InvalidNodeError(
            "ir",
            received=type(error).__name__,
            expected="a file written by `tfx-feeder compile`",
            fix=f"It is damaged: {error}. Compile the pipeline again.",
        ) from error


def _connect(connection: Any, timeout_s: float) -> mlmd.MetadataStore:
    """Opens a store; retries with growing pauses while it cannot be reached.

    Processes that open an empty database at the same time conflict while they create its tables,
    and all but one have to retry as well.

    Raises:
        InvalidNodeError: Another release of ML Metadata wrote the store.
        StoreUnreachableError: The store did not respond within ``timeout_s`` seconds.
    """
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: _OTHER_RELEASE not in str(error)),
        stop=tenacity.stop_after_delay(timeout_s),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=15),
        before_sleep=tenacity.before_sleep_log(_LOG, logging.WARNING),
        reraise=True,
    )
    try:
        return attempts(mlmd.MetadataStore, connection)
    except Exception as error:  # The type differs between releases.
        reason = next(iter(str(error).strip().splitlines()), repr(error))
        if reason.startswith(_OTHER_RELEASE):
            raise InvalidNodeError(
                "store",
                received=_location(connection),
                expected=f"a store that ML Metadata {mlmd.__version__} can read",
                fix=f"{reason.partition('. ')[0]}.",
            ) from error
        raise StoreUnreachableError(
            f"ML Metadata at {_location(connection)} could not be reached within {timeout_s:g} s: "
            f"{reason}"
        ) from error


def _location(connection: Any) -> str:
    """Returns the file or address of a store, without the password."""
    if isinstance(connection, pb.ConnectionConfig):
        connection = getattr(connection, connection.WhichOneof("config"))
    return getattr(connection, "filename_uri", "") or f"{connection.host}:{connection.port}"


def _register_types(store: mlmd.MetadataStore, compiled: CompiledPipeline, node_id: str) -> None:
    """Registers the types that the execution of a node will need, each exactly once.

    On a database server, processes that register a type at the same moment all succeed and create
    duplicates of it, and duplicates of the contexts that refer to it. External ids, however, must
    be unique in the database. With an external id on each type, one process succeeds, and the
    others retry and find the type. TFX registers types as well, but reuses existing ones.
    """
    with _checking_file():
        types = list(_types(compiled, node_id))
    for type_ in types:
        kind = type_.DESCRIPTOR.name
        suffix = f"{kind.removesuffix('Type').lower()}_type"
        get, put = getattr(store, f"get_{suffix}"), getattr(store, f"put_{suffix}")
        type_.external_id = f"tfx_feeder {kind} {type_.name}"
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(mlmd.errors.StatusError),
            stop=tenacity.stop_after_attempt(_REGISTRATION_ATTEMPTS),
            wait=tenacity.wait_random(0, 1),
            reraise=True,
        ):
            with attempt:
                try:
                    get(type_.name)
                except mlmd.errors.NotFoundError:
                    put(type_)


def _types(compiled: CompiledPipeline, node_id: str) -> Iterator[Any]:
    """Yields the context, execution and artifact types of a node, as messages."""
    [node] = _nodes(compiled, [node_id])
    contexts = [*(spec["type"] for spec in node["contexts"]["contexts"]), _CACHE_CONTEXT]
    outputs: Mapping[str, Any] = node.get("outputs", {}).get("outputs", {})
    for message, types in (
        (pb.ContextType, contexts),
        (pb.ExecutionType, [node["node_info"]["type"]]),
        (pb.ArtifactType, [output["artifact_spec"]["type"] for output in outputs.values()]),
    ):
        for type_ in types:
            yield json_format.ParseDict(type_, message())


def _nodes(compiled: CompiledPipeline, node_ids: Sequence[str]) -> list[Mapping[str, Any]]:
    nodes = (node["pipeline_node"] for node in compiled.pipeline["nodes"])
    return [node for node in nodes if node["node_info"]["id"] in node_ids]


def _latest(lineage: Lineage, node_id: str, run_id: str) -> Execution | None:
    """Returns the latest execution of a node in a run, preferring one that succeeded."""
    found = [e for e in _executions(lineage, run_id) if e.node == node_id]
    return max(found, key=lambda e: (e.state in SUCCEEDED, e.id), default=None)


def _executions(lineage: Lineage, run_id: str) -> list[Execution]:
    """Returns the executions of a run; another pipeline may have a run with the same id."""
    return [e for e in lineage.executions(run_id) if e.pipeline == lineage.pipeline]


def _check_upstream(
    compiled: CompiledPipeline, lineage: Lineage, node_id: str, run_id: str
) -> None:
    """Names the nodes that have to run first, before TFX reports missing inputs.

    A node skipped by a condition has no execution either. Therefore, TFX checks the nodes under a
    condition and those that depend on one.
    """
    upstream = compiled.upstream[node_id]
    nodes = _nodes(compiled, (node_id, *upstream))
    conditional = any(node.get("inputs", {}).get("conditionals") for node in nodes)
    if node_id in compiled.exit_handlers or conditional:
        return
    succeeded = {e.node for e in _executions(lineage, run_id) if e.state in SUCCEEDED}
    missing = [node for node in upstream if node not in succeeded]
    if missing:
        raise InvalidNodeError(
            "node",
            received=node_id,
            expected=f"a node whose upstream has succeeded in run {run_id}",
            fix=f"Run first: {', '.join(missing)}.",
        )


def _status(execution: Execution) -> Status:
    pushed = [
        a for group in execution.outputs.values() for a in group if a.type_name == "PushedModel"
    ]
    if pushed and not any(artifact.properties.get("pushed") for artifact in pushed):
        return Status.NOT_BLESSED
    return Status.DONE


@contextlib.contextmanager
def _node_lock(root: str, node_id: str, run_id: str) -> Iterator[None]:
    """Prevents other processes from running the same node of the same run.

    The operating system releases the lock when a process dies for any reason. Object stores have
    no locks; for a root on one, the orchestrator alone has to prevent concurrent attempts.
    """
    if re.match(r"\w+://", root):
        yield
        return
    folder = Path(root, _LOCKS)
    name = re.sub(r"[^\w.+-]", "_", f"{run_id}.{node_id}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / f"{name}.lock").acquire(timeout=0)
    except filelock.Timeout as error:
        raise InvalidNodeError(
            "run_id",
            received=run_id,
            expected=f"a run in which no other process is running {node_id}",
            fix="Wait for that process, or use another run id.",
        ) from error
    except OSError as error:
        raise InvalidNodeError(
            "root",
            received=root,
            expected="a writable folder",
            fix=f"{os.strerror(error.errno or 0)}. Compile the pipeline with another root.",
        ) from error
    with lock:
        yield
