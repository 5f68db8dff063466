"""ML Metadata as the processes of many nodes share it: reached with patience, types made once."""

# The client names its messages at run time only.
# pyright: reportPrivateImportUsage=false, reportAttributeAccessIssue=false

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import ml_metadata as mlmd
import tenacity
from google.protobuf import json_format
from ml_metadata.proto import metadata_store_pb2 as pb

from tfx_feeder.common.errors import ConfigError, FeederError
from tfx_feeder.pipeline.metadata.store import writable
from tfx_feeder.pipeline.orchestration.compiled_pipeline import CompiledPipeline, InvalidNodeError

_OTHER_RELEASE = "MLMD database version"
_ATTEMPTS = 20
_CACHE = {"name": "execution_cache"}
"""Type of the only context of a node that is not among the compiled ones."""
_LOG = logging.getLogger(__name__)


class StoreUnreachableError(FeederError):
    """ML Metadata did not answer in time."""


def connection_of(file: CompiledPipeline, store: str | None) -> Any:
    """Returns the connection of a compiled pipeline; another one where ``store`` names it.

    Args:
        file: The compiled pipeline.
        store: As for ``open_store``; ``None``: the compiled connection.

    Raises:
        InvalidNodeError: The name is of no store.
    """
    if store is not None:
        try:
            return writable(store)
        except ConfigError as error:
            raise InvalidNodeError(
                error.argument, received=error.received, expected=error.expected, fix=error.fix
            ) from error
    compiled = dict(file.pipeline["deployment_config"]["metadata_connection_config"])
    message = getattr(pb, compiled.pop("@type").rpartition(".")[2])
    return json_format.ParseDict(compiled, message())


def connect(connection: Any, patience_s: float) -> mlmd.MetadataStore:
    """Opens a store; tries again, with growing pauses, while it cannot be reached.

    Processes that open an empty database at the same time make its tables in each other's way, and
    all but one have to try again as well.

    Args:
        connection: ``ConnectionConfig`` of ML Metadata.
        patience_s: For how long, in seconds.

    Raises:
        InvalidNodeError: Another release wrote it.
        StoreUnreachableError: It never answered.
    """
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: _OTHER_RELEASE not in str(error)),
        stop=tenacity.stop_after_delay(patience_s),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=15),
        before_sleep=tenacity.before_sleep_log(_LOG, logging.WARNING),
        reraise=True,
    )
    try:
        return attempts(mlmd.MetadataStore, connection)
    except Exception as error:  # Of a type that differs from release to release.
        reason = next(iter(str(error).strip().splitlines()), repr(error))
        if reason.startswith(_OTHER_RELEASE):
            raise InvalidNodeError(
                "store",
                received=_place(connection),
                expected=f"a store that ML Metadata {mlmd.__version__} can read",
                fix=f"{reason.partition('. ')[0]}.",
            ) from error
        raise StoreUnreachableError(
            f"ML Metadata at {_place(connection)} could not be reached within {patience_s:g} s: "
            f"{reason}"
        ) from error


def register_types(store: mlmd.MetadataStore, file: CompiledPipeline, node_id: str) -> None:
    """Registers the types that a node's execution will need, each exactly once.

    On a database server, processes that register a type at the same moment all succeed and leave
    it there several times, and so do contexts that hang on it. The tables demand that external ids
    be unique, so one is given to each type: then one process succeeds, the others try again and
    find it. TFX registers types as well, but leaves those alone that are there.

    Args:
        store: Open for writing.
        file: The compiled pipeline.
        node_id: Of the node.
    """
    for wanted in _types_of(file, node_id):
        kind = wanted.DESCRIPTOR.name
        suffix = f"{kind.removesuffix('Type').lower()}_type"
        get, put = getattr(store, f"get_{suffix}"), getattr(store, f"put_{suffix}")
        wanted.external_id = f"tfx_feeder {kind} {wanted.name}"
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(mlmd.errors.StatusError),
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            wait=tenacity.wait_random(0, 1),
            reraise=True,
        ):
            with attempt:
                try:
                    get(wanted.name)
                except mlmd.errors.NotFoundError:
                    put(wanted)


def _types_of(file: CompiledPipeline, node_id: str) -> Iterator[Any]:
    [node] = [
        node["pipeline_node"]
        for node in file.pipeline["nodes"]
        if node["pipeline_node"]["node_info"]["id"] == node_id
    ]
    contexts = [*(spec["type"] for spec in node["contexts"]["contexts"]), _CACHE]
    outputs: Mapping[str, Any] = node.get("outputs", {}).get("outputs", {})
    for message, found in (
        (pb.ContextType, contexts),
        (pb.ExecutionType, [node["node_info"]["type"]]),
        (pb.ArtifactType, [output["artifact_spec"]["type"] for output in outputs.values()]),
    ):
        for described in found:
            yield json_format.ParseDict(described, message())


def _place(connection: Any) -> str:
    """Returns where a store is, without a password."""
    if isinstance(connection, pb.ConnectionConfig):
        connection = getattr(connection, connection.WhichOneof("config"))
    return getattr(connection, "filename_uri", "") or f"{connection.host}:{connection.port}"
