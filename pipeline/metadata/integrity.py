"""Artifacts whose files are damaged, and the marks with which TFX treats them as deleted."""
# The client defines its messages at run time.
# pyright: reportAttributeAccessIssue=false, reportPrivateImportUsage=false

import glob
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import ml_metadata as mlmd
from ml_metadata import ListOptions, OrderByField
from ml_metadata.proto import metadata_store_pb2 as pb

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.metadata.models import HISTORY, MODEL, PUSHED
from tfx_feeder.pipeline.metadata.types import Artifact
from tfx_feeder.pipeline.metadata.unsynced import lost_artifacts
from tfx_feeder.schemas.file_record import PROPERTY, damage

LOST = "the power failed before the files were on the disk"
_LIVE = ("", "LIVE")
_LEVELS = 3
"""Folder levels of an output below the root of its pipeline: ``NODE/KEY/EXECUTION``."""
_HASHED = (MODEL, HISTORY, PUSHED)
"""Types whose contents are compared before each run; others can be large."""
_NUMBER = re.compile("[0-9]{1,12}")
"""Ids of executions; folders of checkpoints have longer names."""
_OPEN = ("ModelRun",)
"""Types to whose folders others add files, such as the logs of TensorBoard."""


@dataclass(frozen=True, slots=True)
class DamagedArtifact:
    """An artifact that must not be used any more.

    Args:
        artifact: The artifact.
        reason: Description of the damage, as a clause.
    """

    artifact: Artifact
    reason: str

    @property
    def files_exist(self) -> bool:
        """True if the files are there, but damaged."""
        return self.artifact.path.exists()

    def __str__(self) -> str:
        return f"{self.artifact.type_name} {self.artifact.id}: {self.reason}"


def find_damaged(
    artifacts: Iterable[Artifact], *, contents_of: Collection[int] | None = None
) -> list[DamagedArtifact]:
    """Returns the damaged ones among the outputs of components on this machine.

    Args:
        artifacts: Artifacts of any state; those that are deleted are skipped.
        contents_of: Ids of the artifacts whose contents are compared with their recorded hash;
            ``None`` for all.
    """
    by_root: dict[Path, list[Artifact]] = defaultdict(list)
    for artifact in artifacts:
        root = _root_of(artifact)
        if root is not None and artifact.is_local and artifact.state in _LIVE:
            by_root[root].append(artifact)
    return [
        DamagedArtifact(artifact, reason)
        for root, outputs in by_root.items()
        for artifact, reason in _reasons(root, outputs, contents_of)
        if reason
    ]


def forget_damaged(
    store: mlmd.MetadataStore, artifacts: Sequence[Artifact]
) -> list[DamagedArtifact]:
    """Marks damaged artifacts as deleted before a run, so that TFX does not use them.

    Sizes are compared for all artifacts, and contents for the newest model and its records. Missing
    files are not marked: TFX finds them itself, and a volume that is not mounted must not cost the
    records.

    Args:
        store: Store, open for writing.
        artifacts: Artifacts that the run may use, oldest first.

    Returns:
        The artifacts that were marked.
    """
    newest = {a.type_name: a.id for a in artifacts if a.type_name in _HASHED}
    found = find_damaged(artifacts, contents_of=newest.values())
    damaged = [each for each in found if each.files_exist]
    mark_deleted(store, (each.artifact.id for each in damaged))
    return damaged


def check_outputs_are_known(store: mlmd.MetadataStore, root: Path, nodes: Iterable[str]) -> None:
    """Checks that a store lists the executions whose outputs are in the root of a pipeline.

    A new store, or a restored older one, numbers executions as before, and TFX would add their
    files to those that are there.

    Args:
        store: Store of the pipeline.
        root: Root of the pipeline; not checked if it does not exist on this machine.
        nodes: Nodes that will run.

    Raises:
        ConfigError: There are outputs of later executions.
    """
    # The folders first: an execution is in the store before its folders exist.
    paths = (path for node in nodes for path in root.glob(f"{glob.escape(node)}/*/*"))
    folders = {int(path.name): path for path in paths if _NUMBER.fullmatch(path.name)}
    newest = store.get_executions(ListOptions(limit=1, order_by=OrderByField.ID, is_asc=False))
    known = max((execution.id for execution in newest), default=0)
    unknown = folders.get(max(folders, default=0))
    if unknown and int(unknown.name) > known:
        raise ConfigError(
            "root",
            received=str(unknown),
            expected=f"outputs of executions that the store lists, which ends with {known}",
            fix="The store is new, or older than the outputs, and would mix them with new ones. "
            f"Restore the store, move {root} away, or use another root.",
        )


def mark_deleted(store: mlmd.MetadataStore, artifact_ids: Iterable[int]) -> None:
    """Marks artifacts as deleted; the cache and the resolvers of TFX skip them.

    Args:
        store: Store, open for writing.
        artifact_ids: Ids of the artifacts.
    """
    marked = [pb.Artifact(id=number, state=pb.Artifact.DELETED) for number in artifact_ids]
    if marked:
        store.put_artifacts(marked, field_mask_paths=["state"])


def _reasons(
    root: Path, outputs: Sequence[Artifact], contents_of: Collection[int] | None
) -> Iterator[tuple[Artifact, str]]:
    lost = {artifact.id for artifact in lost_artifacts(root, outputs)}
    for artifact in outputs:
        contents = contents_of is None or artifact.id in contents_of
        recorded = "" if artifact.type_name in _OPEN else str(artifact.properties.get(PROPERTY, ""))
        found = damage(artifact.path, recorded, contents=contents)
        yield artifact, LOST if artifact.id in lost else found


def _root_of(artifact: Artifact) -> Path | None:
    """Returns the root of the pipeline that wrote an artifact; ``None`` for imported ones."""
    path = artifact.path
    folder = path if path.name.isdecimal() else path.parent  # A value artifact is a file.
    if not folder.name.isdecimal() or len(folder.parts) <= _LEVELS:
        return None
    return folder.parents[_LEVELS - 1]
