"""Converts ML Metadata messages to plain values."""
# The client defines its messages at run time.
# pyright: reportAttributeAccessIssue=false, reportPrivateImportUsage=false

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from ml_metadata.proto import metadata_store_pb2 as pb

from tfx_feeder.pipeline.metadata.types import Artifact

OUTPUT_EVENTS = (pb.Event.OUTPUT, pb.Event.DECLARED_OUTPUT)
INPUT_EVENTS = (pb.Event.INPUT, pb.Event.DECLARED_INPUT)


def by_key(
    events: Iterable[pb.Event], artifacts: Mapping[int, Artifact], types: Collection[int]
) -> dict[int, dict[str, tuple[Artifact, ...]]]:
    """Groups the artifacts of events by execution and key.

    Args:
        events: Events of any type.
        artifacts: Artifacts by id; events of other artifacts are skipped.
        types: Event types to include.
    """
    found: dict[int, dict[str, tuple[Artifact, ...]]] = {}
    for event in events:
        if event.type in types and event.artifact_id in artifacts:
            of_execution = found.setdefault(event.execution_id, {})
            for key in keys_of(event):
                of_execution[key] = (*of_execution.get(key, ()), artifacts[event.artifact_id])
    return found


def split_name(name: str, pipelines: Iterable[str]) -> tuple[str, str]:
    """Splits the name of a node context into pipeline and node; both may contain dots.

    Args:
        name: Name of the context.
        pipelines: Names of all pipelines of the store.
    """
    pipeline = max((p for p in pipelines if name.startswith(f"{p}.")), key=len, default="")
    return pipeline, name.removeprefix(f"{pipeline}.")


def ids_of(artifacts: Mapping[str, Iterable[Artifact]]) -> set[int]:
    """Returns the ids of the artifacts of all keys."""
    return {artifact.id for group in artifacts.values() for artifact in group}


def keys_of(event: pb.Event) -> list[str]:
    """Returns all keys of an event; one artifact may be both candidate and baseline."""
    return [step.key for step in event.path.steps if step.HasField("key")]


def state_of(execution: pb.Execution) -> str:
    """Returns the name of an execution's state."""
    return pb.Execution.State.Name(execution.last_known_state)


def to_artifact(artifact: pb.Artifact) -> Artifact:
    """Returns an artifact as a plain value."""
    return Artifact(
        id=artifact.id,
        type_name=artifact.type,
        uri=artifact.uri,
        properties=properties_of(artifact),
        created_at=to_time(artifact.create_time_since_epoch),
        state=pb.Artifact.State.Name(artifact.state) if artifact.state else "",
    )


def properties_of(message: Any) -> dict[str, Any]:
    """Returns declared and custom properties; a custom one wins over a declared one.

    The declared ``span`` of Examples stays 0; ExampleGen writes a custom one.
    """
    return {
        name: _plain(getattr(value, value.WhichOneof("value")))
        for properties in (message.properties, message.custom_properties)
        for name, value in properties.items()
        if value.WhichOneof("value")
    }


def to_time(milliseconds: int) -> datetime:
    """Returns a timestamp of the store as a UTC time."""
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)


def _plain(value: Any) -> Any:
    """Returns protocol buffers as dictionaries, and other values unchanged."""
    return json_format.MessageToDict(value) if isinstance(value, Message) else value
