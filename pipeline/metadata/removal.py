"""Deletes files of artifacts, so that nobody is served what is not there any more."""
# The client names its messages at run time only.
# pyright: reportAttributeAccessIssue=false, reportPrivateImportUsage=false

import shutil
from collections.abc import Callable, Iterable, Mapping

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2 as pb

from tfx_feeder.pipeline.metadata.gc import ArtifactFiles

_DELETED, _UNKNOWN = "DELETED", "UNKNOWN"


def remove(
    store: mlmd.MetadataStore,
    files: Iterable[ArtifactFiles],
    sort_again: Callable[[], Iterable[ArtifactFiles]],
) -> tuple[list[ArtifactFiles], list[str]]:
    """Deletes files that can go, and marks their artifacts in the store.

    They are marked before they are deleted: the cache and the resolvers of TFX pass over artifacts
    that are marked. A run may have taken some just before, so they are looked at once more in
    between, and what is in use by then is marked as it was.

    Args:
        store: An open store, for writing.
        files: As ``sort_files`` sorted them.
        sort_again: Sorts them as they are by then.

    Returns:
        What was deleted, and what could not be deleted, in sentences.
    """
    chosen = _can_go(files)
    _mark(store, dict.fromkeys(chosen, _DELETED))
    unused = _can_go(sort_again()).keys()
    _mark(store, {key: chosen[key].state for key in chosen.keys() - unused})
    deleted, failures = [], []
    for each in (chosen[key] for key in chosen if key in unused):
        try:
            shutil.rmtree(each.folder)
            deleted.append(each)
        except OSError as error:
            failures.append(f"{each.folder} is not deleted, or not wholly: {error}.")
    return deleted, failures


def _can_go(files: Iterable[ArtifactFiles]) -> dict[int, ArtifactFiles]:
    return {each.artifact_id: each for each in files if not each.kept}


def _mark(store: mlmd.MetadataStore, states: Mapping[int, str]) -> None:
    artifacts = [
        pb.Artifact(id=key, state=pb.Artifact.State.Value(state or _UNKNOWN))
        for key, state in states.items()
    ]
    if artifacts:
        store.put_artifacts(artifacts, field_mask_paths=["state"])
