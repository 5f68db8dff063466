"""Contents of an ML Metadata store as plain values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

RUNNING, COMPLETE, CACHED = "RUNNING", "COMPLETE", "CACHED"
FAILED, CANCELED = "FAILED", "CANCELED"
SUCCEEDED = (COMPLETE, CACHED)
_RESOLVER = ".resolver.Resolver"
"""States of an execution whose outputs exist."""
RESULT_PROPERTY = "__execution_result__"
"""Execution property where TFX stores an executor's result: JSON with ``resultMessage``."""
_DELETED_STATES = ("DELETED", "MARKED_FOR_DELETION")


@dataclass(frozen=True, slots=True)
class Artifact:
    """An artifact in the store.

    Args:
        id: Id in the store.
        type_name: Name of the artifact type, such as ``Model``.
        uri: Location of the files.
        properties: Declared and custom properties.
        created_at: Time of registration; UTC.
        state: ``LIVE``, ``DELETED``, ``PENDING`` and so on; empty if none was recorded.
    """

    id: int
    type_name: str
    uri: str
    properties: Mapping[str, Any]
    created_at: datetime
    state: str = ""

    @property
    def path(self) -> Path:
        """Path of the files, provided that they are on this machine."""
        url = urlsplit(self.uri)
        return Path(unquote(url.path)) if url.scheme == "file" else Path(self.uri)

    @property
    def is_local(self) -> bool:
        """True if the URI names a path on this machine."""
        return bool(self.uri) and urlsplit(self.uri).scheme in ("", "file")

    @property
    def files_missing(self) -> bool:
        """True if the files are known not to exist; files on other machines count as existing."""
        if self.state in _DELETED_STATES:
            return True
        return self.is_local and not self.path.exists()


@dataclass(frozen=True, slots=True)
class Execution:
    """One node of a pipeline in one run.

    Args:
        id: Id in the store.
        node: Name of the node, such as ``FeederTrainer``.
        type_name: Component type, such as ``tfx.components.pusher.component.Pusher``.
        pipeline: Name of the pipeline.
        run_id: Name of the run.
        state: ``COMPLETE``, ``CACHED``, ``FAILED``, ``RUNNING`` or ``CANCELED``.
        created_at: Time of registration; UTC.
        updated_at: Time of the last state change; UTC.
        properties: Execution properties, and the error message of a failed execution.
        inputs: Input artifacts by key.
        outputs: Output artifacts by key, produced by this execution or taken from the cache.
    """

    id: int
    node: str
    type_name: str
    pipeline: str
    run_id: str
    state: str
    created_at: datetime
    updated_at: datetime
    properties: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)
    outputs: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Time from registration to the last state change."""
        return (self.updated_at - self.created_at).total_seconds()

    @property
    def input_artifacts(self) -> tuple[Artifact, ...]:
        """Input artifacts of all keys."""
        return tuple(artifact for group in self.inputs.values() for artifact in group)

    @property
    def output_artifacts(self) -> tuple[Artifact, ...]:
        """Output artifacts of all keys."""
        return tuple(artifact for group in self.outputs.values() for artifact in group)

    def output(self, key: str) -> Artifact | None:
        """Returns the first artifact of an output; ``None`` if there is none."""
        return next(iter(self.outputs.get(key, ())), None)

    def output_of_type(self, type_name: str) -> Artifact | None:
        """Returns the first output artifact of a type; ``None`` if there is none."""
        return next((a for a in self.output_artifacts if a.type_name == type_name), None)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a pipeline.

    Args:
        id: Name in the store.
        pipeline: Name of the pipeline.
        executions: Executions in the order of their registration.
        created_at: Time of registration; UTC.
    """

    id: str
    pipeline: str
    executions: tuple[Execution, ...]
    created_at: datetime

    @property
    def state(self) -> str:
        """Worst state among the executions; ``CACHED`` if nothing had to run."""
        failed = {execution.id for execution in self.failed}
        states = {
            execution.state
            for execution in self.executions
            if execution.state != FAILED or execution.id in failed
        }
        for state in (FAILED, CANCELED, RUNNING, COMPLETE):
            if state in states:
                return state
        return CACHED if states else RUNNING

    @property
    def failed(self) -> tuple[Execution, ...]:
        """Failed executions, without those of resolvers after which TFX continued."""
        last = max((e.id for e in self.executions if e.state in SUCCEEDED), default=0)
        return tuple(
            e
            for e in self.executions
            if e.state == FAILED and not (e.type_name.endswith(_RESOLVER) and e.id < last)
        )

    @property
    def changed_at(self) -> datetime:
        """Time of the last state change; UTC."""
        return max((e.updated_at for e in self.executions), default=self.created_at)

    @property
    def seconds(self) -> float:
        """Time from registration to the last state change."""
        return (self.changed_at - self.created_at).total_seconds()

    def outputs(self, type_name: str, key: str | None = None) -> Iterator[Artifact]:
        """Yields the artifacts of a type that the run produced or took from the cache.

        Args:
            type_name: Name of the artifact type, such as ``Model``.
            key: Output key; ``None``: any key.
        """
        for execution in self.executions:
            if execution.state in SUCCEEDED:
                for output, artifacts in execution.outputs.items():
                    if key in (None, output):
                        yield from (a for a in artifacts if a.type_name == type_name)


@dataclass(frozen=True, slots=True)
class Graph:
    """Part of the lineage.

    Args:
        artifacts: Artifacts by id.
        executions: Executions by id, with inputs and outputs.
        producer_ids: Id of the execution that produced each artifact. An execution that took the
            artifact from the cache is not its producer.
        consumer_ids: Ids of the executions that read each artifact, in order.
    """

    artifacts: Mapping[int, Artifact]
    executions: Mapping[int, Execution]
    producer_ids: Mapping[int, int]
    consumer_ids: Mapping[int, tuple[int, ...]]

    def producer(self, artifact_id: int) -> Execution | None:
        """Returns the execution that produced an artifact; ``None`` if the graph lacks it."""
        producer = self.producer_ids.get(artifact_id)
        return None if producer is None else self.executions[producer]

    def consumers(self, artifact_id: int) -> tuple[Execution, ...]:
        """Returns the executions that read an artifact, oldest first."""
        return tuple(self.executions[i] for i in self.consumer_ids.get(artifact_id, ()))
