"""Read access to the runs, artifacts and lineage in an ML Metadata store.

Uses only the ML Metadata client. It follows events in batches because not every release of the
client has lineage queries.
"""
# The client defines its messages at run time.
# pyright: reportAttributeAccessIssue=false, reportPrivateImportUsage=false

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2 as pb

from tfx_feeder.pipeline.metadata.convert import (
    INPUT_EVENTS,
    OUTPUT_EVENTS,
    by_key,
    ids_of,
    keys_of,
    properties_of,
    split_name,
    state_of,
    to_artifact,
    to_time,
)
from tfx_feeder.pipeline.metadata.store import open_store
from tfx_feeder.pipeline.metadata.types import (
    COMPLETE,
    SUCCEEDED,
    Artifact,
    Execution,
    Graph,
    Run,
)

_LARGEST_ID = 2**63 - 1
_MANY = 300
"""Number of executions above which reading all contexts is faster than asking for each one's."""


class _Scope(NamedTuple):
    pipeline: str = ""
    run_id: str = ""
    node: str = ""


class Lineage:
    """Read-only view of a store.

    Args:
        store: Open store; see ``Lineage.open``.
        pipeline: Name of the pipeline to restrict the view to; ``None``: the whole store.
    """

    def __init__(self, store: mlmd.MetadataStore, pipeline: str | None = None) -> None:
        self._store = store
        self.pipeline = pipeline

    @classmethod
    def open(cls, target: str | Path, pipeline: str | None = None) -> "Lineage":
        """Opens a store read-only.

        Args:
            target: Store as for ``open_store``.
            pipeline: Name of the pipeline to restrict the view to; ``None``: the whole store.

        Raises:
            ConfigError: There is no store, or it cannot be read.
        """
        return cls(open_store(target), pipeline)

    def pipelines(self) -> list[str]:
        """Returns the names of all pipelines of the store, oldest first."""
        return list(self._pipelines())

    def run_ids(self) -> list[str]:
        """Returns the run ids, oldest first."""
        return [context.name for context in self._runs()]

    def runs(self, newest: int | None = None) -> list[Run]:
        """Returns the runs, newest first, without the artifacts of their executions.

        Args:
            newest: Maximum number of runs; ``None``: all.
        """
        contexts = self._runs()[::-1][:newest]
        found = {context.name: self._of_run(context) for context in contexts}
        made: dict[str, list[Execution]] = defaultdict(list)
        for execution in self._executions([e for group in found.values() for e in group], []):
            made[execution.run_id].append(execution)
        return [self._run(context, made[context.name]) for context in contexts]

    def run(self, run_id: str) -> Run | None:
        """Returns a run with the artifacts of its executions; ``None`` if there is none."""
        context = self._store.get_context_by_type_and_name("pipeline_run", run_id)
        if context is None:
            return None
        found = self._of_run(context)
        return self._run(context, self._executions(found, self._events([e.id for e in found])))

    def executions(self, run_id: str) -> list[Execution]:
        """Returns the executions of a run in the order of their registration."""
        run = self.run(run_id)
        return list(run.executions) if run else []

    def latest(self, node: str) -> Execution | None:
        """Returns the newest successful or cached execution of a node."""
        for context in reversed(self._runs()):
            for execution in self.executions(context.name):
                if execution.node == node and execution.state in SUCCEEDED:
                    return execution
        return None

    def artifacts(self, type_name: str | None = None) -> list[Artifact]:
        """Returns the artifacts of a type, or all artifacts, oldest first."""
        if type_name is None:
            found = self._store.get_artifacts()
        else:
            found = self._store.get_artifacts_by_type(type_name)
        # Looking up the artifacts of one pipeline is slow.
        pipelines = self._pipelines()
        if self.pipeline is not None and list(pipelines) != [self.pipeline]:
            own = pipelines.get(self.pipeline)
            ids = {a.id for a in self._store.get_artifacts_by_context(own)} if own else set()
            found = [artifact for artifact in found if artifact.id in ids]
        return sorted(map(to_artifact, found), key=lambda artifact: artifact.id)

    def outputs_of_node(self, node: str) -> list[Artifact]:
        """Returns all artifacts that a node of the pipeline has written in any run, oldest first.

        Args:
            node: Name of the node.
        """
        context = self._store.get_context_by_type_and_name("node", f"{self.pipeline}.{node}")
        executions = self._store.get_executions_by_context(context.id) if context else ()
        events = self._events([execution.id for execution in executions])
        found = self._by_id({e.artifact_id for e in events if e.type in OUTPUT_EVENTS})
        return [found[number] for number in sorted(found)]

    def artifact(self, artifact_id: int) -> Artifact | None:
        """Returns an artifact of any pipeline of the store; ``None`` if there is none."""
        if not 0 < artifact_id <= _LARGEST_ID:
            return None
        found = self._store.get_artifacts_by_id([artifact_id])
        return to_artifact(found[0]) if found else None

    def upstream(self, artifact_ids: Iterable[int], stop_at: Collection[str] = ()) -> Graph:
        """Returns the artifacts and everything they were derived from.

        Args:
            artifact_ids: Ids of the start artifacts.
            stop_at: Types of artifacts whose own lineage is not followed, except that of the start
                artifacts.
        """
        return self._walk(artifact_ids, to_producers=True, stop_at=stop_at)

    def downstream(self, artifact_ids: Iterable[int], stop_at: Collection[str] = ()) -> Graph:
        """Returns the artifacts and everything derived from them.

        Args:
            artifact_ids: Ids of the start artifacts.
            stop_at: Types of artifacts whose own lineage is not followed, except that of the start
                artifacts.
        """
        return self._walk(artifact_ids, to_producers=False, stop_at=stop_at)

    def consumers(self, artifact_ids: Iterable[int]) -> Graph:
        """Returns the executions that read artifacts, with their inputs and outputs."""
        return self._walk(artifact_ids, to_producers=False, levels=1)

    def spans_done(self, last_node: str = "Pusher", path: Sequence[str] = ()) -> set[int]:
        """Returns the spans that completed runs were trained on.

        Args:
            last_node: Node whose completion completes a run.
            path: Input keys from that node back to the Examples with the span.
        """
        names = {f"{p}.{last_node}" for p in self._pipelines() if self.pipeline in (None, p)}
        executions = {
            execution.id
            for context in self._contexts("node")
            if context.name in names
            for execution in self._store.get_executions_by_context(context.id)
            if state_of(execution) == COMPLETE
        }
        artifacts: set[int] = set()
        for key in path or ("model", "examples", "examples"):
            events = self._events(executions)
            artifacts = {
                e.artifact_id for e in events if e.type in INPUT_EVENTS and key in keys_of(e)
            }
            executions = set(self._producers(artifacts).values())
        examples = self._store.get_artifacts_by_id(artifacts)
        return {a.custom_properties["span"].int_value for a in examples}

    def latest_pushed(self) -> Artifact | None:
        """Returns the most recently pushed ``PushedModel``."""
        pushed = [a for a in self.artifacts("PushedModel") if a.properties.get("pushed")]
        return pushed[-1] if pushed else None

    def _pipelines(self) -> Mapping[str, int]:
        """Ids of the pipeline contexts by name, oldest first."""
        return {context.name: context.id for context in self._contexts("pipeline")}

    def _runs(self) -> list[pb.Context]:
        """Contexts of the runs, oldest first."""
        if self.pipeline is None:
            return self._contexts("pipeline_run")
        pipeline = self._pipelines().get(self.pipeline)
        if pipeline is None:
            return []
        children = self._store.get_children_contexts_by_context(pipeline)
        return sorted((c for c in children if c.type == "pipeline_run"), key=lambda c: c.id)

    def _contexts(self, type_name: str) -> list[pb.Context]:
        return sorted(self._store.get_contexts_by_type(type_name), key=lambda context: context.id)

    def _of_run(self, context: pb.Context) -> list[pb.Execution]:
        return sorted(self._store.get_executions_by_context(context.id), key=lambda e: e.id)

    def _run(self, context: pb.Context, executions: Sequence[Execution]) -> Run:
        if executions:
            pipeline = executions[0].pipeline
        else:
            parents = self._store.get_parent_contexts_by_context(context.id)
            pipeline = parents[0].name if parents else ""
        created_at = to_time(context.create_time_since_epoch)
        return Run(context.name, pipeline, tuple(executions), created_at)

    def _executions(
        self, found: Sequence[pb.Execution], events: Sequence[pb.Event]
    ) -> tuple[Execution, ...]:
        artifacts = self._by_id({event.artifact_id for event in events})
        inputs, outputs = (
            by_key(events, artifacts, INPUT_EVENTS),
            by_key(events, artifacts, OUTPUT_EVENTS),
        )
        scopes = self._scopes([execution.id for execution in found])
        return tuple(
            Execution(
                id=execution.id,
                node=scopes[execution.id].node,
                type_name=execution.type,
                pipeline=scopes[execution.id].pipeline,
                run_id=scopes[execution.id].run_id,
                state=state_of(execution),
                created_at=to_time(execution.create_time_since_epoch),
                updated_at=to_time(execution.last_update_time_since_epoch),
                properties=properties_of(execution),
                inputs=inputs.get(execution.id, {}),
                outputs=outputs.get(execution.id, {}),
            )
            for execution in found
        )

    def _scopes(self, execution_ids: Collection[int]) -> Mapping[int, _Scope]:
        """Returns pipeline, run and node of executions."""
        names: dict[int, dict[str, str]] = defaultdict(dict)
        if len(execution_ids) < _MANY:
            for execution_id in execution_ids:
                for context in self._store.get_contexts_by_execution(execution_id):
                    names[execution_id][context.type] = context.name
        else:
            # Pipeline contexts are skipped: each would return all executions at once.
            for type_name in ("pipeline_run", "node"):
                for context in self._contexts(type_name):
                    for execution in self._store.get_executions_by_context(context.id):
                        names[execution.id][type_name] = context.name
        scopes = defaultdict(_Scope)
        pipelines = self.pipelines()
        for execution_id, of_type in names.items():
            pipeline, node = split_name(of_type.get("node", ""), pipelines)
            scopes[execution_id] = _Scope(pipeline, of_type.get("pipeline_run", ""), node)
        return scopes

    def _walk(
        self,
        artifact_ids: Iterable[int],
        *,
        to_producers: bool,
        stop_at: Collection[str] = (),
        levels: int | None = None,
    ) -> Graph:
        seen_artifacts, seen_executions = set(artifact_ids), set()
        back = INPUT_EVENTS if to_producers else OUTPUT_EVENTS
        new = set(seen_artifacts)
        while new and levels != 0:
            levels = None if levels is None else levels - 1
            executions = set(self._producers(new).values()) if to_producers else self._readers(new)
            executions -= seen_executions
            seen_executions |= executions
            events = self._events(executions)
            new = {event.artifact_id for event in events if event.type in back} - seen_artifacts
            seen_artifacts |= new
            if stop_at:
                new = {a.id for a in self._by_id(new).values() if a.type_name not in stop_at}
        found = self._store.get_executions_by_id(seen_executions) if seen_executions else []
        events = self._events(seen_executions)
        executions_by_id = {
            e.id: e for e in self._executions(sorted(found, key=lambda e: e.id), events)
        }
        consumers: dict[int, tuple[int, ...]] = {}
        producers: dict[int, int] = {}
        for execution in executions_by_id.values():
            for artifact in ids_of(execution.inputs):
                consumers[artifact] = (*consumers.get(artifact, ()), execution.id)
            if execution.state == COMPLETE:
                for artifact in ids_of(execution.outputs):
                    producers.setdefault(artifact, execution.id)
        everything = seen_artifacts | {event.artifact_id for event in events}
        return Graph(self._by_id(everything), executions_by_id, producers, consumers)

    def _producers(self, artifact_ids: Collection[int]) -> dict[int, int]:
        """Returns the id of the execution that produced each artifact.

        It is the oldest execution with an OUTPUT event for the artifact: an importer may register
        what an earlier one imported, and a cached execution has OUTPUT events too.
        """
        if not artifact_ids:
            return {}
        events = self._store.get_events_by_artifact_ids(artifact_ids)
        ids = {event.execution_id for event in events if event.type in OUTPUT_EVENTS}
        complete = {e.id for e in self._store.get_executions_by_id(ids) if state_of(e) == COMPLETE}
        producers: dict[int, int] = {}
        for event in sorted(events, key=lambda event: event.execution_id):
            if event.type in OUTPUT_EVENTS and event.execution_id in complete:
                producers.setdefault(event.artifact_id, event.execution_id)
        return producers

    def _readers(self, artifact_ids: Collection[int]) -> set[int]:
        events = self._store.get_events_by_artifact_ids(artifact_ids)
        return {event.execution_id for event in events if event.type in INPUT_EVENTS}

    def _events(self, execution_ids: Collection[int]) -> list[pb.Event]:
        return self._store.get_events_by_execution_ids(execution_ids) if execution_ids else []

    def _by_id(self, artifact_ids: Collection[int]) -> dict[int, Artifact]:
        found = self._store.get_artifacts_by_id(artifact_ids) if artifact_ids else []
        return {artifact.id: to_artifact(artifact) for artifact in found}
