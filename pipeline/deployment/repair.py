"""Finds what a power failure or a damaged disk left in a root, and repairs it."""
# The client of ML Metadata declares no exports.
# pyright: reportPrivateImportUsage=false

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import ml_metadata as mlmd

from tfx_feeder.common.files import atomic_path, remove, sync_folder
from tfx_feeder.common.hashing import compare, hash_files
from tfx_feeder.components.pusher.versions import leftovers
from tfx_feeder.pipeline.deployment.rollback import SERVING_DIRS, card_execution
from tfx_feeder.pipeline.metadata.integrity import find_damaged, mark_deleted
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import ModelVersion, Push, last_pushed_ids, read_models
from tfx_feeder.pipeline.metadata.types import Artifact
from tfx_feeder.schemas import model_card
from tfx_feeder.schemas.file_record import damage

Remedy = Literal["forget", "restore", "set aside", "remove"]
REMEDIES: Mapping[Remedy, str] = {
    "forget": "mark as deleted in the store, so that the next run makes it again",
    "restore": "copy the files from the model that was pushed",
    "set aside": "rename, so that no server loads it",
    "remove": "remove",
}
"""What each remedy does, as a clause."""
_SET_ASIDE = ".damaged-"
_UNKNOWN_PUSH = "no run recorded this push, and "


@dataclass(frozen=True, slots=True)
class Finding:
    """Damage in a root, and its remedy.

    Args:
        subject: Name of the damaged artifact or version.
        reason: Description of the damage, as a clause.
        remedy: Action of ``repair``.
        path: Files that are damaged.
        artifact_id: Artifact to forget; ``None`` for files outside of artifacts.
        source: Folder to restore the files from.
        card: Folder of the model card of the push; ``None`` if there is none.
    """

    subject: str
    reason: str
    remedy: Remedy
    path: Path
    artifact_id: int | None = None
    source: Path | None = None
    card: Path | None = None


def find(lineage: Lineage) -> list[Finding]:
    """Compares all outputs and served models on this machine with what was written.

    Args:
        lineage: Lineage of the store, or of one pipeline.
    """
    damaged = [
        Finding(
            subject=f"{each.artifact.type_name} {each.artifact.id}",
            reason=each.reason,
            remedy="forget",
            path=each.artifact.path,
            artifact_id=each.artifact.id,
        )
        for each in find_damaged(lineage.artifacts())
    ]
    return [*damaged, *_served(lineage, {finding.artifact_id for finding in damaged})]


def repair(findings: Iterable[Finding], store: mlmd.MetadataStore) -> list[str]:
    """Applies the remedies.

    Args:
        findings: Results of ``find``.
        store: Store of the artifacts, open for writing.

    Returns:
        A message for each finding that could not be repaired.
    """
    findings, failures = list(findings), []
    mark_deleted(store, (f.artifact_id for f in findings if f.artifact_id is not None))
    for finding in findings:
        try:
            _apply(finding)
        except OSError as error:
            failures.append(f"{finding.subject} was not repaired: {error}.")
    return failures


def _apply(finding: Finding) -> None:
    if finding.remedy == "remove":
        remove(finding.path)
    elif finding.remedy == "set aside":
        _set_aside(finding.path)
    elif finding.remedy == "restore" and finding.source is not None:
        with atomic_path(finding.path) as partial:
            shutil.copytree(finding.source, partial)
            if finding.card is not None:
                shutil.copy(finding.card / model_card.FILE_NAME, partial)
            # Not before the copy is there: the disk may be full.
            if finding.path.exists():
                _set_aside(finding.path)


def _set_aside(path: Path) -> None:
    target = path.with_name(f"{_SET_ASIDE}{path.name}")
    remove(target)
    os.rename(path, target)
    os.utime(target)  # `gc` keeps it for as long as other files.
    sync_folder(path.parent)


def _served(lineage: Lineage, damaged: set[int | None]) -> Iterator[Finding]:
    """Yields findings about the folders from which models are served."""
    live = last_pushed_ids(lineage)
    places: dict[Path, dict[str, tuple[ModelVersion, Push]]] = {}
    for model in read_models(lineage):
        for push in model.pushes:
            if push.place and "://" not in push.place:
                places.setdefault(Path(push.place), {})[push.version] = (model, push)
    for place, pushes in sorted(places.items()):
        for folder in leftovers(place):
            yield Finding(str(folder), "a push was interrupted", "remove", folder)
        if not place.is_dir():
            continue
        folders = {path.name: path for path in place.iterdir()}
        folders |= {v: place / v for v, (_, p) in pushes.items() if p.artifact.id in live}
        for name, folder in sorted(folders.items()):
            if name in pushes:
                model, push = pushes[name]
                yield from _version(lineage, folder, model, push, damaged)
            elif name.isdecimal() and (reason := _incomplete(folder)):
                yield Finding(f"Version {name}", f"{_UNKNOWN_PUSH}{reason}", "set aside", folder)


def _version(
    lineage: Lineage, folder: Path, model: ModelVersion, push: Push, damaged: set[int | None]
) -> Iterator[Finding]:
    def is_intact(artifact: Artifact) -> bool:
        return artifact.id not in damaged and not artifact.files_missing

    execution = card_execution(lineage, push)
    written = execution.output("model_card") if execution else None
    card = written.path if written and is_intact(written) else None
    before: Mapping[str, str] = {}
    if card:
        before = model_card.read(card).files
    elif is_intact(push.artifact):
        before = hash_files(push.artifact.path)
    reason = _incomplete(folder)
    if before and not reason:
        now = hash_files(folder, exclude=[model_card.FILE_NAME])
        reason = str(compare(before, now))
    if not reason:
        return
    subject = f"Version {push.version} in {folder.parent}"
    copies = [
        *([push.artifact.path] if is_intact(push.artifact) else []),
        *(model.model.path / name for name in SERVING_DIRS if is_intact(model.model)),
    ]
    for copy in copies:
        if _incomplete(copy) or (before and compare(before, hash_files(copy))):
            continue
        yield Finding(subject, reason, "restore", folder, source=copy, card=card)
        return
    if folder.exists():
        yield Finding(subject, reason, "set aside", folder)


def _incomplete(folder: Path) -> str:
    """Returns why a folder is no SavedModel that a server can load; empty if it may be one."""
    if not (folder / "saved_model.pb").is_file():
        return "saved_model.pb is missing"
    return damage(folder, "")
