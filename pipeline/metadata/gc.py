"""Which files of a pipeline no model needs any more.

Looks at a whole store at once, and reads of it no more than who read and made what.
"""
# The client names its messages at run time only.
# pyright: reportAttributeAccessIssue=false, reportPrivateImportUsage=false

import os
from collections import defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2 as pb

from tfx_feeder.pipeline.metadata.describe import is_local
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import BLESSING, PUSHED

_NEEDED = "needed by a blessed or pushed model"
_GOING_ON = "of a run that is going on"
_NEWEST = "of the newest runs"
_YOUNG = "read or made since"
_SHARED = "shares its folder with what stays"

_INPUTS = (pb.Event.INPUT, pb.Event.DECLARED_INPUT, pb.Event.INTERNAL_INPUT)
_SUBJECT = "model"
"""Input key under which components read the model that they are about."""
_DATA = {"examples", "statistics"}
"""Input keys under which components read the data that they are about."""
_ABOUT_DATA = {"ExampleStatistics", "ExampleAnomalies"}
_LEVELS = 3
"""Components write to ``ROOT/NODE/KEY/EXECUTION``."""
_VALUE = "value"
"""File of an artifact that is one value; the folder around it is the artifact's own."""


@dataclass(frozen=True, slots=True)
class ArtifactFiles:
    """The files of an artifact, in the folder that its component wrote.

    Args:
        artifact_id: Whose they are.
        type_name: Of the artifact.
        created: When it was registered; UTC.
        state: Of the artifact.
        folder: Where they are.
        size_bytes: Of all of them.
        kept: Why they stay; empty where they can go.
    """

    artifact_id: int
    type_name: str
    created: datetime
    state: str
    folder: Path
    size_bytes: int
    kept: str = ""

    @property
    def root(self) -> Path:
        """The folder of the pipeline that it is in."""
        return self.folder.parents[_LEVELS - 1]


def sort_files(
    store: mlmd.MetadataStore,
    pipeline: str | None = None,
    *,
    untouched_since: datetime,
    keep_runs: int,
) -> list[ArtifactFiles]:
    """Sorts the files of artifacts into those that stay and those that can go.

    What stays, is needed by a blessed or pushed model: all that it was made of, and what was found
    out about it and its data. What belongs to a run that is going on stays as well. Files that lie
    elsewhere than where components write, such as imported ones, are not looked at.

    Args:
        store: An open store.
        pipeline: Name of the pipeline whose files may go; ``None``: those of all.
        untouched_since: What an execution read or made since then stays.
        keep_runs: How many of the newest runs of each pipeline stay.

    Returns:
        The files on this machine, the oldest first.
    """
    usage = _Usage(store)
    reasons: dict[int, str] = {}
    for reason, artifact_ids in (
        (_NEEDED, usage.needed()),
        (_GOING_ON, usage.of_runs(usage.going_on())),
        (_NEWEST, usage.of_runs(usage.newest(keep_runs))),
        (_YOUNG, usage.since(untouched_since)),
    ):
        reasons |= dict.fromkeys(artifact_ids - reasons.keys(), reason)
    local = {a.id: a.path for a in usage.artifacts.values() if is_local(a.uri)}
    here = {artifact_id: path for artifact_id, path in local.items() if path.exists()}
    staying = {str(here[artifact_id]) for artifact_id in here.keys() & reasons.keys()}
    holding = _with_parents(staying)
    found = []
    for artifact_id in sorted(here.keys() & usage.of_pipeline(pipeline)):
        artifact, path = usage.artifacts[artifact_id], here[artifact_id]
        folder = path.parent if path.name == _VALUE and path.is_file() else path
        if not usage.is_own_folder(artifact_id, folder):
            continue
        kept = reasons.get(artifact_id, "")
        if not kept and (str(folder) in holding or staying & {*map(str, folder.parents)}):
            kept = _SHARED
        found.append(
            ArtifactFiles(
                artifact_id=artifact_id,
                type_name=artifact.type_name,
                created=artifact.created,
                state=artifact.state,
                folder=folder,
                size_bytes=_size_bytes(folder),
                kept=kept,
            )
        )
    return found


class _Usage:
    """Who read and made what, over a whole store."""

    def __init__(self, store: mlmd.MetadataStore) -> None:
        self._store = store
        self._lineage = Lineage(store)
        self.artifacts = {artifact.id: artifact for artifact in self._lineage.artifacts()}
        self._executions = {execution.id: execution for execution in store.get_executions()}
        # By execution and artifact, the keys under which one read or made the other.
        self._read: dict[int, dict[int, set[str]]] = defaultdict(dict)
        self._made: dict[int, dict[int, set[str]]] = defaultdict(dict)
        self._makers: dict[int, set[int]] = defaultdict(set)
        ids = self._executions.keys()
        for event in store.get_events_by_execution_ids(ids) if ids else ():
            ends = self._read if event.type in _INPUTS else self._made
            keys = {step.key for step in event.path.steps if step.HasField("key")}
            ends[event.execution_id].setdefault(event.artifact_id, set()).update(keys)
            if ends is self._made:
                self._makers[event.artifact_id].add(event.execution_id)

    def needed(self) -> set[int]:
        """What blessed and pushed models were made of, and what was found out about them."""
        verdicts = {BLESSING: "blessed", PUSHED: "pushed"}
        models = {
            model
            for artifact in self.artifacts.values()
            if artifact.properties.get(verdicts.get(artifact.type_name, ""))
            for model, keys in self._read[self._maker(artifact.id)].items()
            if _SUBJECT in keys
        }
        needed, new = set(), set(models)
        while new:
            needed |= new
            # With all outputs of a maker: the cache serves all of them or none.
            new = self._touched(map(self._maker, new)) - needed
        # In the order of their ids: what was found out about the data is built upon further.
        for execution, read in sorted(self._read.items()):
            made = self._made[execution].keys()
            about_model = any(_SUBJECT in keys for a, keys in read.items() if a in models)
            about_data = any(_DATA & keys for a, keys in read.items() if a in needed)
            types = {self.artifacts[artifact].type_name for artifact in made}
            if about_model or (about_data and types <= _ABOUT_DATA):
                needed |= made
        return needed

    def of_pipeline(self, pipeline: str | None) -> Collection[int]:
        """The ids of all artifacts of a pipeline; ``None``: of every one."""
        if pipeline is None:
            return self.artifacts.keys()
        return {artifact.id for artifact in Lineage(self._store, pipeline).artifacts()}

    def going_on(self) -> set[str]:
        """Ids of the runs with an execution that is running."""
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
        """What the executions of runs read and made."""
        find, executions = self._store.get_context_by_type_and_name, set()
        for context in filter(None, (find("pipeline_run", run_id) for run_id in run_ids)):
            executions.update(e.id for e in self._store.get_executions_by_context(context.id))
        return self._touched(executions)

    def since(self, time: datetime) -> set[int]:
        """What was read or made at a time or later."""
        limit = time.timestamp() * 1000
        return self._touched(
            execution.id
            for execution in self._executions.values()
            if execution.last_update_time_since_epoch >= limit
        )

    def is_own_folder(self, artifact_id: int, folder: Path) -> bool:
        """Whether a component wrote a folder for an artifact."""
        if len(folder.parts) < _LEVELS or ".." in folder.parts or folder.is_symlink():
            return False
        return any(
            folder.name == str(maker) and folder.parent.name in self._made[maker][artifact_id]
            for maker in self._makers[artifact_id]
        )

    def _maker(self, artifact_id: int) -> int:
        """The execution that made an artifact: the oldest; later ones took it over. 0: none."""
        return min(self._makers[artifact_id], default=0)

    def _touched(self, execution_ids: Iterable[int]) -> set[int]:
        touched: set[int] = set()
        for execution_id in execution_ids:
            touched.update(self._read[execution_id], self._made[execution_id])
        return touched


def _with_parents(paths: Iterable[str]) -> set[str]:
    """Returns paths and all folders that they are in."""
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
            # Somebody else may be deleting it.
            with suppress(FileNotFoundError):
                size += os.lstat(os.path.join(parent, name)).st_size
    return size
