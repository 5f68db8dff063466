"""Garbage collection of artifact files that no model needs.

Reads the events of the whole store once to find out which artifacts are in use.
"""
# The client defines its messages at run time.
# pyright: reportAttributeAccessIssue=false, reportPrivateImportUsage=false

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2 as pb

from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import BLESSING, PUSHED, SLICES

_NEEDED = "needed by a blessed or pushed model"
_IN_PROGRESS = "part of a run in progress"
_NEWEST = "part of one of the newest runs"
_RECENT = "recently read or produced"
_SHARED = "in the same folder as files to keep"

_INPUTS = (pb.Event.INPUT, pb.Event.DECLARED_INPUT, pb.Event.INTERNAL_INPUT)
_SUBJECT = "model"
"""Input key of the model that a component evaluates, pushes or documents."""
_DATA = {"examples", "statistics"}
"""Input keys of the data that a component analyzes."""
_ABOUT_DATA = {"ExampleStatistics", "ExampleAnomalies"}
_LEVELS = 3
"""Folder levels below the pipeline root: components write to ``ROOT/NODE/KEY/EXECUTION``."""
_VALUE = "value"
"""File name of a value artifact; its parent folder belongs to the artifact."""
_DELETED, _UNKNOWN = "DELETED", "UNKNOWN"


@dataclass(frozen=True, slots=True)
class ArtifactFiles:
    """Files of an artifact, in the folder that its component wrote.

    Args:
        artifact_id: Id of the artifact.
        type_name: Type of the artifact.
        created_at: Time of registration; UTC.
        state: State of the artifact.
        folder: Folder of the files.
        size_bytes: Total size.
        keep_reason: Reason to keep the files; empty if they can be deleted.
    """

    artifact_id: int
    type_name: str
    created_at: datetime
    state: str
    folder: Path
    size_bytes: int
    keep_reason: str = ""

    @property
    def root(self) -> Path:
        """Root folder of the pipeline."""
        return self.folder.parents[_LEVELS - 1]


def classify_files(
    store: mlmd.MetadataStore,
    pipeline: str | None = None,
    *,
    untouched_since: datetime,
    keep_runs: int,
) -> list[ArtifactFiles]:
    """Decides for each artifact whether its files are kept or can be deleted.

    Kept are all artifacts that a blessed or pushed model was derived from, the analyses of that
    model and its data, and the artifacts of runs in progress. Files outside of the folders that
    components write to, such as imported ones, are ignored.

    Args:
        store: Open store.
        pipeline: Pipeline whose files may be deleted; ``None``: all pipelines.
        untouched_since: Artifacts read or produced at this time or later are kept.
        keep_runs: Number of newest runs of each pipeline to keep.

    Returns:
        The files on this machine, oldest first.
    """
    usage = _Usage(store)
    reasons: dict[int, str] = {}
    for reason, artifact_ids in (
        (_NEEDED, usage.needed()),
        (_IN_PROGRESS, usage.of_runs(usage.in_progress())),
        (_NEWEST, usage.of_runs(usage.newest(keep_runs))),
        (_RECENT, usage.since(untouched_since)),
    ):
        reasons |= dict.fromkeys(artifact_ids - reasons.keys(), reason)
    local = {a.id: a.path for a in usage.artifacts.values() if a.is_local}
    here = {artifact_id: path for artifact_id, path in local.items() if path.exists()}
    kept = {str(here[artifact_id]) for artifact_id in here.keys() & reasons.keys()}
    holding = _with_parents(kept)
    found = []
    for artifact_id in sorted(here.keys() & usage.of_pipeline(pipeline)):
        artifact, path = usage.artifacts[artifact_id], here[artifact_id]
        folder = path.parent if path.name == _VALUE and path.is_file() else path
        if not usage.is_own_folder(artifact_id, folder):
            continue
        keep_reason = reasons.get(artifact_id, "")
        if not keep_reason and (str(folder) in holding or kept & {*map(str, folder.parents)}):
            keep_reason = _SHARED
        found.append(
            ArtifactFiles(
                artifact_id=artifact_id,
                type_name=artifact.type_name,
                created_at=artifact.created_at,
                state=artifact.state,
                folder=folder,
                size_bytes=_size_bytes(folder),
                keep_reason=keep_reason,
            )
        )
    return found


def delete_files(
    store: mlmd.MetadataStore,
    files: Iterable[ArtifactFiles],
    reclassify: Callable[[], Iterable[ArtifactFiles]],
) -> tuple[list[ArtifactFiles], list[str]]:
    """Deletes files that are not kept, and marks their artifacts in the store.

    Artifacts are marked before their files are deleted, because the cache and the resolvers of TFX
    skip marked artifacts. A run may have resolved some of them just before. The files are therefore
    classified again, and artifacts that are in use by then get their old state back.

    Args:
        store: Store, open for writing.
        files: Files as ``classify_files`` returned them.
        reclassify: Function that classifies the files again.

    Returns:
        The deleted files, and a message for each folder that could not be deleted.
    """
    unneeded = _unneeded(files)
    _mark(store, dict.fromkeys(unneeded, _DELETED))
    still_unneeded = _unneeded(reclassify()).keys()
    _mark(store, {key: unneeded[key].state for key in unneeded.keys() - still_unneeded})
    deleted, failures = [], []
    for each in (unneeded[key] for key in unneeded if key in still_unneeded):
        try:
            shutil.rmtree(each.folder)
            deleted.append(each)
        except OSError as error:
            failures.append(f"{each.folder} was not deleted, or only in part: {error}.")
    return deleted, failures


class _Usage:
    """Artifact usage in a whole store."""

    def __init__(self, store: mlmd.MetadataStore) -> None:
        self._store = store
        self._lineage = Lineage(store)
        self.artifacts = {artifact.id: artifact for artifact in self._lineage.artifacts()}
        self._executions = {execution.id: execution for execution in store.get_executions()}
        # Keys of inputs and outputs, by execution and artifact.
        self._inputs: dict[int, dict[int, set[str]]] = defaultdict(dict)
        self._outputs: dict[int, dict[int, set[str]]] = defaultdict(dict)
        self._producers: dict[int, set[int]] = defaultdict(set)
        ids = self._executions.keys()
        for event in store.get_events_by_execution_ids(ids) if ids else ():
            ends = self._inputs if event.type in _INPUTS else self._outputs
            keys = {step.key for step in event.path.steps if step.HasField("key")}
            ends[event.execution_id].setdefault(event.artifact_id, set()).update(keys)
            if ends is self._outputs:
                self._producers[event.artifact_id].add(event.execution_id)

    def needed(self) -> set[int]:
        """Artifacts that blessed and pushed models were derived from, and the analyses of both."""
        flags = {BLESSING: "blessed", PUSHED: "pushed"}
        models = {
            model
            for artifact in self.artifacts.values()
            if artifact.properties.get(flags.get(artifact.type_name, ""))
            for model, keys in self._inputs[self._producer(artifact.id)].items()
            if _SUBJECT in keys
        }
        needed, new = set(), set(models)
        while new:
            needed |= new
            # With all outputs of a producer: the cache serves all of them or none.
            new = self._touched(map(self._producer, new)) - needed
        # In the order of ids: an analysis of the data may be the input of another.
        for execution, inputs in sorted(self._inputs.items()):
            outputs = self._outputs[execution].keys()
            # SliceGen reads a blessed model, but its slices are about the data of later runs.
            about_model = any(_SUBJECT in keys for a, keys in inputs.items() if a in models)
            about_data = any(_DATA & keys for a, keys in inputs.items() if a in needed)
            types = {self.artifacts[artifact].type_name for artifact in outputs}
            if (about_model and SLICES not in types) or (about_data and types <= _ABOUT_DATA):
                needed |= outputs
        return needed

    def of_pipeline(self, pipeline: str | None) -> Collection[int]:
        """Ids of all artifacts of a pipeline, or of all pipelines."""
        if pipeline is None:
            return self.artifacts.keys()
        return {artifact.id for artifact in Lineage(self._store, pipeline).artifacts()}

    def in_progress(self) -> set[str]:
        """Ids of the runs with a running execution."""
        running = [
            execution.id
            for execution in self._executions.values()
            if execution.last_known_state in (pb.Execution.NEW, pb.Execution.RUNNING)
        ]
        contexts = chain.from_iterable(map(self._store.get_contexts_by_execution, running))
        return {context.name for context in contexts if context.type == "pipeline_run"}

    def newest(self, number: int) -> set[str]:
        """Ids of the newest runs of each pipeline."""
        pipelines = self._lineage.pipelines()
        ids = (Lineage(self._store, pipeline).run_ids() for pipeline in pipelines)
        return {run_id for of_pipeline in ids for run_id in of_pipeline[::-1][:number]}

    def of_runs(self, run_ids: Iterable[str]) -> set[int]:
        """Inputs and outputs of the executions of runs."""
        find, executions = self._store.get_context_by_type_and_name, set()
        for context in filter(None, (find("pipeline_run", run_id) for run_id in run_ids)):
            executions.update(e.id for e in self._store.get_executions_by_context(context.id))
        return self._touched(executions)

    def since(self, time: datetime) -> set[int]:
        """Artifacts read or produced at a time or later."""
        limit = time.timestamp() * 1000
        return self._touched(
            execution.id
            for execution in self._executions.values()
            if execution.last_update_time_since_epoch >= limit
        )

    def is_own_folder(self, artifact_id: int, folder: Path) -> bool:
        """Returns True if a component created the folder for this artifact."""
        if len(folder.parts) < _LEVELS or ".." in folder.parts or folder.is_symlink():
            return False
        return any(
            folder.name == str(producer)
            and folder.parent.name in self._outputs[producer][artifact_id]
            for producer in self._producers[artifact_id]
        )

    def _producer(self, artifact_id: int) -> int:
        """The execution that produced an artifact: the oldest one; 0 if there is none."""
        return min(self._producers[artifact_id], default=0)

    def _touched(self, execution_ids: Iterable[int]) -> set[int]:
        touched: set[int] = set()
        for execution_id in execution_ids:
            touched.update(self._inputs[execution_id], self._outputs[execution_id])
        return touched


def _unneeded(files: Iterable[ArtifactFiles]) -> dict[int, ArtifactFiles]:
    return {each.artifact_id: each for each in files if not each.keep_reason}


def _mark(store: mlmd.MetadataStore, states: Mapping[int, str]) -> None:
    artifacts = [
        pb.Artifact(id=key, state=pb.Artifact.State.Value(state or _UNKNOWN))
        for key, state in states.items()
    ]
    if artifacts:
        store.put_artifacts(artifacts, field_mask_paths=["state"])


def _with_parents(paths: Iterable[str]) -> set[str]:
    """Returns paths and all their parents."""
    found: set[str] = set()
    for path in paths:
        while path not in found:
            found.add(path)
            path = os.path.dirname(path)
    return found


def _size_bytes(folder: Path) -> int:
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            # Another process may be deleting it.
            with suppress(FileNotFoundError):
                size += os.lstat(os.path.join(parent, name)).st_size
    return size
