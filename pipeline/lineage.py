"""What ML Metadata knows about a pipeline: its runs, what they made, and out of what.

Reads with the ML Metadata client alone. It walks from event to event, because the store's own
lineage queries are not available in every release.
"""
# The client names its messages at run time only.
# pyright: reportAttributeAccessIssue=false, reportPrivateImportUsage=false

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2 as pb

from tfx_feeder.components.common.errors import ConfigError

RUNNING, COMPLETE, CACHED = "RUNNING", "COMPLETE", "CACHED"
_OUTPUTS = (pb.Event.OUTPUT, pb.Event.DECLARED_OUTPUT)
_INPUTS = (pb.Event.INPUT, pb.Event.DECLARED_INPUT)


@dataclass(frozen=True, slots=True)
class Artifact:
    """An artifact as the store knows it.

    Args:
        id: In the store.
        type_name: Such as ``Model``.
        path: Where its files are.
        properties: Custom properties.
    """

    id: int
    type_name: str
    path: Path
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NodeExecution:
    """One node of a pipeline in one run.

    Args:
        id: In the store.
        node: Name of the node, such as ``FeederTrainer``.
        state: ``COMPLETE``, ``CACHED``, ``FAILED``, ``RUNNING`` or ``CANCELED``.
        seconds: From registration to the last change of state.
        outputs: What it made or took over, by output key.
    """

    id: int
    node: str
    state: str
    seconds: float
    outputs: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)

    def output(self, key: str) -> Artifact | None:
        """Returns the single artifact of an output; ``None`` where there is none."""
        artifacts = self.outputs.get(key, ())
        return artifacts[0] if artifacts else None


class Lineage:
    """Reads one pipeline's part of a store.

    Args:
        metadata: The store's SQLite file; made if it does not exist.
        pipeline: Name of the pipeline.

    Raises:
        ConfigError: The file is no store, or one of another release.
    """

    def __init__(self, metadata: Path, pipeline: str) -> None:
        config = pb.ConnectionConfig()
        config.sqlite.filename_uri = str(metadata)
        config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        try:
            self._store = mlmd.MetadataStore(config)
        except Exception as error:  # Of a type that differs from release to release.
            raise ConfigError(
                "root",
                received=str(metadata),
                expected="an ML Metadata store that this release can read",
                fix=f"ML Metadata {mlmd.__version__} says: {_sentence(error)} Choose another "
                "folder with --root, or run the release that wrote this one.",
            ) from error
        self._pipeline = pipeline

    def run_ids(self) -> list[str]:
        """Returns the ids of the runs, oldest first."""
        pipeline = self._pipeline_id()
        if pipeline is None:
            return []
        contexts = self._store.get_children_contexts_by_context(pipeline)
        runs = [context for context in contexts if context.type == "pipeline_run"]
        return [context.name for context in sorted(runs, key=lambda context: context.id)]

    def executions(self, run_id: str) -> list[NodeExecution]:
        """Returns the executions of a run, in the order in which they were registered."""
        context = self._store.get_context_by_type_and_name("pipeline_run", run_id)
        if context is None:
            return []
        found = self._store.get_executions_by_context(context.id)
        outputs = self._outputs(execution.id for execution in found)
        return [
            NodeExecution(
                id=execution.id,
                node=self._node(execution.id),
                state=_state(execution),
                seconds=(execution.last_update_time_since_epoch - execution.create_time_since_epoch)
                / 1000,
                outputs=outputs.get(execution.id, {}),
            )
            for execution in sorted(found, key=lambda execution: execution.id)
        ]

    def latest(self, node: str) -> NodeExecution | None:
        """Returns the newest execution of a node that has its outputs, from the cache or not."""
        for run_id in reversed(self.run_ids()):
            for execution in self.executions(run_id):
                if execution.node == node and execution.state in (COMPLETE, CACHED):
                    return execution
        return None

    def spans_done(self, last_node: str = "Pusher", path: tuple[str, ...] = ()) -> set[int]:
        """Returns the spans on which runs were trained that got to their end.

        Args:
            last_node: Node whose completion is the end of a run.
            path: Input keys from that node back to the Examples with the span.
        """
        pipeline = self._pipeline_id()
        if pipeline is None:
            return set()
        executions = {
            execution.id
            for execution in self._store.get_executions_by_context(pipeline)
            if _state(execution) == COMPLETE and self._node(execution.id) == last_node
        }
        artifacts: set[int] = set()
        for key in path or ("model", "examples", "examples"):
            artifacts = self._inputs(executions, key)
            executions = self._producers(artifacts)
        examples = self._store.get_artifacts_by_id(artifacts)
        return {a.custom_properties["span"].int_value for a in examples}

    def latest_pushed(self) -> Artifact | None:
        """Returns the ``PushedModel`` that was pushed last."""
        pipeline = self._pipeline_id()
        if pipeline is None:
            return None
        artifacts = self._store.get_artifacts_by_context(pipeline)
        pushed = [a for a in artifacts if a.type == "PushedModel" and _properties(a).get("pushed")]
        return _artifact(max(pushed, key=lambda a: a.id)) if pushed else None

    def cancel_unfinished(self, run_id: str) -> None:
        """Closes the executions that an interrupted run left open."""
        context = self._store.get_context_by_type_and_name("pipeline_run", run_id)
        if context is None:
            return
        left_open = [
            execution
            for execution in self._store.get_executions_by_context(context.id)
            if _state(execution) == RUNNING
        ]
        for execution in left_open:
            execution.last_known_state = pb.Execution.CANCELED
        self._store.put_executions(left_open)

    def _pipeline_id(self) -> int | None:
        context = self._store.get_context_by_type_and_name("pipeline", self._pipeline)
        return None if context is None else context.id

    def _node(self, execution_id: int) -> str:
        contexts = self._store.get_contexts_by_execution(execution_id)
        names = [context.name for context in contexts if context.type == "node"]
        return names[0].removeprefix(f"{self._pipeline}.") if names else ""

    def _outputs(self, execution_ids: Iterable[int]) -> dict[int, dict[str, tuple[Artifact, ...]]]:
        events = [e for e in self._events(execution_ids) if e.type in _OUTPUTS]
        ids = {event.artifact_id for event in events}
        artifacts = {a.id: _artifact(a) for a in self._store.get_artifacts_by_id(ids)}
        found: dict[int, dict[str, tuple[Artifact, ...]]] = {}
        for event in events:
            of_execution = found.setdefault(event.execution_id, {})
            for key in _keys(event):
                of_execution[key] = (*of_execution.get(key, ()), artifacts[event.artifact_id])
        return found

    def _events(self, execution_ids: Iterable[int]) -> list[pb.Event]:
        ids = list(execution_ids)
        return self._store.get_events_by_execution_ids(ids) if ids else []

    def _inputs(self, execution_ids: set[int], key: str) -> set[int]:
        events = self._events(execution_ids)
        return {e.artifact_id for e in events if e.type in _INPUTS and key in _keys(e)}

    def _producers(self, artifact_ids: set[int]) -> set[int]:
        if not artifact_ids:
            return set()
        events = self._store.get_events_by_artifact_ids(artifact_ids)
        ids = {event.execution_id for event in events if event.type in _OUTPUTS}
        # An execution that took its outputs from the cache has OUTPUT events too.
        executions = self._store.get_executions_by_id(ids)
        return {execution.id for execution in executions if _state(execution) == COMPLETE}


def _keys(event: pb.Event) -> list[str]:
    """Returns all keys of an event: one artifact may be candidate and baseline at once."""
    return [step.key for step in event.path.steps if step.HasField("key")]


def _state(execution: pb.Execution) -> str:
    return pb.Execution.State.Name(execution.last_known_state)


def _artifact(artifact: pb.Artifact) -> Artifact:
    return Artifact(artifact.id, artifact.type, Path(artifact.uri), _properties(artifact))


def _properties(artifact: pb.Artifact) -> dict[str, Any]:
    return {
        name: getattr(value, value.WhichOneof("value"))
        for name, value in artifact.custom_properties.items()
        if value.WhichOneof("value")
    }


def _sentence(error: Exception) -> str:
    return f"{str(error).strip().splitlines()[0].split('. ')[0].rstrip('.: ')}."
