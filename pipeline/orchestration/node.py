"""Runs one node of a compiled pipeline in this process, at most once to its end.

TFX is imported where a node has to run, and not before: what has succeeded already, or cannot run
yet, is answered out of ML Metadata alone.
"""

import contextlib
import enum
import logging
import os
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import filelock

from tfx_feeder.common.errors import FeederError
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.store import close
from tfx_feeder.pipeline.metadata.types import SUCCEEDED, Execution
from tfx_feeder.pipeline.orchestration.compiled_pipeline import CompiledPipeline, InvalidNodeError
from tfx_feeder.pipeline.orchestration.node_store import (
    StoreUnreachableError,
    connect,
    connection_of,
    register_types,
)
from tfx_feeder.pipeline.runner.launch import root_cause
from tfx_feeder.pipeline.runner.quiet_imports import quiet_imports

_LAUNCHING = "tfx_feeder.pipeline.orchestration.node_launcher"
_LOCKS = ".locks"
_LOG = logging.getLogger(__name__)


class Status(enum.IntEnum):
    """What became of a node; also the exit status of ``run-node``."""

    DONE = 0
    FAILED = 1
    BAD_CONFIG = 2
    NOT_BLESSED = 3
    UNREACHABLE = 4


def status_of(error: Exception) -> Status:
    """Returns the exit status that an error of ``run_node`` means."""
    if isinstance(error, StoreUnreachableError):
        return Status.UNREACHABLE
    # Raised by an executor it is a failure of the node: the same call may succeed later.
    return Status.BAD_CONFIG if isinstance(error, InvalidNodeError) else Status.FAILED


class NodeFailedError(FeederError):
    """A node did not get to its end, though nothing was raised."""


def run_node(
    file: CompiledPipeline,
    node_id: str,
    run_id: str,
    *,
    store: str | None = None,
    connect_s: float = 120.0,
) -> Status:
    """Runs a node, unless it has succeeded in this run before.

    Args:
        file: The compiled pipeline.
        node_id: Id of the node.
        run_id: Of the run; the same for all its nodes.
        store: ML Metadata store to use instead of the compiled one; see ``open_store``. So the
            file need not hold a password.
        connect_s: How long ML Metadata is waited for, in seconds.

    Returns:
        ``DONE``, also where a condition left the node out; ``NOT_BLESSED`` where a pusher had
        nothing to push.

    Raises:
        InvalidNodeError: The node is unknown, what it needs has not run, another process runs it,
            or the root cannot be written.
        StoreUnreachableError: ML Metadata did not answer.
        NodeFailedError: Its inputs could not be resolved.
        Exception: Whatever its executor raised.
    """
    file.require(node_id)
    connection = connection_of(file, store)
    with _alone(file.root, node_id, run_id):
        opened = connect(connection, connect_s)
        lineage = Lineage(opened, file.name)
        done = _newest(lineage, node_id, run_id)
        if done is not None and done.state in SUCCEEDED:
            _LOG.info("%s has succeeded in run %s already.", node_id, run_id)
            return _status(done)
        _check_upstream(file, lineage, node_id, run_id)
        quiet_imports(_LAUNCHING)
        register_types(opened, file, node_id)
        try:
            import_module(_LAUNCHING).launch(file, node_id, run_id, connection)
        except BaseException as error:
            with contextlib.suppress(StoreUnreachableError):
                reopened = connect(connection, connect_s)
                close(reopened, run_id, root_cause(error), f"{file.name}.{node_id}")
            raise
        # Anew: servers close connections that nobody uses for as long as a training takes.
        made = _newest(Lineage(connect(connection, connect_s), file.name), node_id, run_id)
    if made is None:
        _LOG.info("%s was left out: a condition is not met.", node_id)
        return Status.DONE
    if made.state not in SUCCEEDED:
        raise NodeFailedError(f"{node_id} is {made.state}: its inputs could not be resolved.")
    return _status(made)


def _newest(lineage: Lineage, node_id: str, run_id: str) -> Execution | None:
    """Returns the execution of a node in a run; the one that succeeded, if there are several."""
    found = [e for e in _executions(lineage, run_id) if e.node == node_id]
    return max(found, key=lambda e: (e.state in SUCCEEDED, e.id), default=None)


def _executions(lineage: Lineage, run_id: str) -> list[Execution]:
    """Returns the executions of a run; another pipeline may have a run of the same id."""
    return [e for e in lineage.executions(run_id) if e.pipeline == lineage.pipeline]


def _check_upstream(file: CompiledPipeline, lineage: Lineage, node_id: str, run_id: str) -> None:
    """Tells what has to run first, before TFX says that some input is missing.

    A node that a condition left out has no execution either, so nodes under a condition, and those
    that depend on one, are left to TFX.
    """
    needed = file.upstream[node_id]
    if node_id in file.exit_handlers or _conditional(file, (node_id, *needed)):
        return
    made = {e.node for e in _executions(lineage, run_id) if e.state in SUCCEEDED}
    missing = [node for node in needed if node not in made]
    if missing:
        raise InvalidNodeError(
            "node",
            received=node_id,
            expected=f"a node whose upstream has succeeded in run {run_id}",
            fix=f"Run first: {', '.join(missing)}.",
        )


def _conditional(file: CompiledPipeline, node_ids: Sequence[str]) -> bool:
    nodes = (node["pipeline_node"] for node in file.pipeline["nodes"])
    return any(
        node.get("inputs", {}).get("conditionals")
        for node in nodes
        if node["node_info"]["id"] in node_ids
    )


def _status(execution: Execution) -> Status:
    pushed = [
        a for group in execution.outputs.values() for a in group if a.type_name == "PushedModel"
    ]
    if pushed and not any(artifact.properties.get("pushed") for artifact in pushed):
        return Status.NOT_BLESSED
    return Status.DONE


@contextlib.contextmanager
def _alone(root: str, node_id: str, run_id: str) -> Iterator[None]:
    """Sees that no other process runs the same node of the same run meanwhile.

    The operating system gives the lock back when a process dies, whatever killed it. Roots on
    object stores know no locks: there the orchestrator alone sees to it.
    """
    if re.match(r"\w+://", root):
        yield
        return
    folder = Path(root, _LOCKS)
    name = re.sub(r"[^\w.+-]", "_", f"{run_id}.{node_id}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = filelock.FileLock(folder / f"{name}.lock").acquire(timeout=0)
    except filelock.Timeout as error:
        raise InvalidNodeError(
            "run_id",
            received=run_id,
            expected=f"a run in which no other process is running {node_id}",
            fix="Wait for it, or give this run an id of its own.",
        ) from error
    except OSError as error:
        raise InvalidNodeError(
            "root",
            received=root,
            expected="a folder that can be written",
            fix=f"{os.strerror(error.errno or 0)}. Compile the pipeline with another root.",
        ) from error
    with held:
        yield
