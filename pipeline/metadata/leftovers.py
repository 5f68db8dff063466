"""Files of a pipeline that no artifact refers to, such as logs and abandoned checkpoints."""

import glob
import os
import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

from tfx_feeder.common.temporary import LOCK, PREFIX, if_unused
from tfx_feeder.pipeline.metadata.describe import REPORT_SEPARATOR, report_stem
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import PUSHED, place_of, served_ids
from tfx_feeder.pipeline.metadata.types import CANCELED, FAILED

RECENT = "recently read or produced"
_IN_USE = "in use by a running process"
_NEWEST = "one of the newest of its kind"
_SERVED = "served, or one of the versions before that"

_UNFINISHED = re.compile(r"\..*\.partial-.*|\.(partial|incoming|deleted)-.*")
_TEMPORARY = re.compile(rf"{PREFIX}[a-z0-9_]{{8}}")
"""Names that ``tempfile`` chooses."""
_LOG = re.compile(r"\d{8}-\d{6}-\d+\.log")
_CHECKPOINTS, _LOCK = "checkpoints", "lock"
_CHECKPOINT_LOCK = ".lock"
_IN_PIPELINE = (
    (_CHECKPOINTS, "*/checkpoints/*", re.compile(r"([0-9a-f]{16}|probe)(-\d+)?")),
    ("step profile", "*/probes/*", re.compile(r"[0-9a-f]+\.json")),
    ("rejection list", "*/rejected/*", re.compile(r"\d+\.jsonl")),
    (_LOCK, ".locks/*", re.compile(r".*\.lock")),
)
"""Files below the root of a pipeline: kind, pattern, and form of the name."""
_OUTPUTS = ("{node}/*/{execution}", "{node}/.system/*/{execution}")
"""Output folders of an execution below the root of a pipeline, and its working folder."""
_SET_ASIDE = ".damaged-*"
"""Versions that ``tfx-feeder repair`` has renamed."""
_SHARED_FOLDERS = ("data", "logs", "reports", "retrain")
"""Folders beside those of the artifacts."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file or folder that no artifact refers to.

    Args:
        type_name: Kind of the file, such as ``log``.
        path: Path of the file or folder.
        changed_at: Time of the last change of the file, or of any file in the folder; UTC.
        size_bytes: Total size.
        keep_reason: Reason to keep it; empty if it can be deleted.
    """

    type_name: str
    path: Path
    changed_at: datetime
    size_bytes: int
    keep_reason: str = ""


def find_leftovers(
    lineage: Lineage,
    roots: Collection[Path],
    *,
    untouched_since: datetime,
    keep_newest: int,
    keep_versions: int,
) -> list[Leftover]:
    """Decides for each file that no artifact refers to whether it is kept or can be deleted.

    Args:
        lineage: Lineage of a pipeline, or of all pipelines of a store. Logs, reports and temporary
            folders belong to all pipelines, and are found for all only.
        roots: Root folders of these pipelines, below which components wrote their artifacts.
        untouched_since: Files changed at this time or later are kept.
        keep_newest: Number of newest logs and reports to keep.
        keep_versions: Number of versions to keep in each serving folder beside the newest one.

    Returns:
        The files on this machine, without links, by kind and path.
    """
    shared = _shared_roots(lineage, roots)
    found = [
        *_unfinished(lineage, roots, shared),
        *_in_pipelines(roots),
        *_unpublished(lineage, roots),
        *_set_aside(lineage),
    ]
    if lineage.pipeline is None:
        reports = {report_stem([run_id]) for run_id in lineage.run_ids()}
        for root in shared:
            logs = (path for path in root.glob("logs/*") if _LOG.fullmatch(path.name))
            pages = (
                path
                for path in root.glob("reports/*.html")
                if reports.issuperset(path.stem.split(REPORT_SEPARATOR))
            )
            found += _without_newest(_existing("log", logs), keep_newest)
            found += _without_newest(_existing("report", pages), keep_newest)
        found += _temporary()
    found = [_keep(each, untouched_since) for each in found]
    found += _old_versions(lineage, untouched_since, keep_versions)
    going = {each.path for each in found if not each.keep_reason}
    whole = (each for each in found if going.isdisjoint(each.path.parents))
    return sorted(whole, key=lambda each: (each.type_name, each.path))


def delete_leftovers(leftovers: Iterable[Leftover]) -> tuple[list[Leftover], list[str]]:
    """Deletes files that are not kept.

    Args:
        leftovers: Files as ``find_leftovers`` returned them; those that a process has changed or
            begun to use since then are not deleted.

    Returns:
        The deleted files, and a message for each that could not be deleted.
    """
    deleted, failures = [], []
    for each in leftovers:
        if each.keep_reason:
            continue
        with if_unused(_lock_of(each)) as is_unused:
            if not is_unused or _existing(each.type_name, [each.path]) != [each]:
                continue
            try:
                _delete(each.path)
                deleted.append(each)
            except OSError as error:
                failures.append(f"{each.path} was not deleted, or only in part: {error}.")
    return deleted, failures


def _shared_roots(lineage: Lineage, roots: Iterable[Path]) -> set[Path]:
    """Returns the root folders of the reference pipeline, whose layout is known."""
    names = lineage.pipelines()
    return {
        root.parents[1] for root in roots if root.parent.name == "artifacts" and root.name in names
    }


def _in_pipelines(roots: Iterable[Path]) -> Iterator[Leftover]:
    for root in roots:
        for kind, pattern, name in _IN_PIPELINE:
            paths = (path for path in root.glob(pattern) if name.fullmatch(path.name))
            yield from _existing(kind, paths)


def _unfinished(
    lineage: Lineage, roots: Iterable[Path], shared: Iterable[Path]
) -> Iterator[Leftover]:
    """Yields files and folders that a killed process has not written to the end."""
    folders = {*roots, *(path.parent for path in _pushed(lineage))}
    if lineage.pipeline is None:
        folders |= {root / name for root in shared for name in _SHARED_FOLDERS}
    for folder in folders:
        for parent, folder_names, file_names in os.walk(folder):
            names = [n for n in (*folder_names, *file_names) if _UNFINISHED.fullmatch(n)]
            folder_names[:] = [name for name in folder_names if name not in names]
            yield from _existing("unfinished file", (Path(parent, name) for name in names))


def _unpublished(lineage: Lineage, roots: Iterable[Path]) -> Iterator[Leftover]:
    """Yields what executions wrote that failed or were killed, and that is no artifact."""
    paths = [artifact.path for artifact in lineage.artifacts()]
    published = {*paths, *(path.parent for path in paths)}  # A value artifact is a file.
    for execution in (e for run in lineage.runs() for e in run.executions):
        if execution.state not in (FAILED, CANCELED):
            continue
        node = glob.escape(execution.node)
        for pattern in (each.format(node=node, execution=execution.id) for each in _OUTPUTS):
            folders = {path for root in roots for path in root.glob(pattern)}
            yield from _existing("output of a failed execution", folders - published)


def _set_aside(lineage: Lineage) -> Iterator[Leftover]:
    for place in {path.parent for path in _pushed(lineage)}:
        yield from _existing("damaged version", place.glob(_SET_ASIDE))


def _temporary() -> Iterator[Leftover]:
    parent = Path(tempfile.gettempdir())
    index = parent / f"{PREFIX}index-{os.getuid()}"
    folders = (path for path in parent.iterdir() if _TEMPORARY.fullmatch(path.name))
    own = (path for path in folders if (path / LOCK).exists() and _is_own(path))
    yield from _existing("temporary folder", own)
    if index.exists() and _is_own(index):
        yield from _existing("record index", index.glob("*.npz"))


def _is_own(path: Path) -> bool:
    return path.lstat().st_uid == os.getuid()


def _old_versions(lineage: Lineage, since: datetime, keep: int) -> Iterator[Leftover]:
    """Yields the versions in serving folders that runs of the store have pushed."""
    pushed, served = _pushed(lineage), served_ids(lineage)
    versions: dict[Path, list[Path]] = defaultdict(list)
    for place in {path.parent for path in pushed}:
        with suppress(OSError):
            found = (path for path in place.iterdir() if path.name.isdecimal())
            versions[place] = sorted(found, key=lambda path: int(path.name), reverse=True)
    for in_place in versions.values():
        for number, each in enumerate(_existing("served version", in_place)):
            if number <= keep or pushed.get(each.path) in served:
                yield replace(each, keep_reason=_SERVED)
            elif each.path in pushed:
                yield _keep(each, since)


def _pushed(lineage: Lineage) -> dict[Path, int]:
    """Returns the ids of pushes by local folder of the version; the latest for each."""
    return {
        Path(place_of(destination), Path(destination).name): artifact.id
        for artifact in lineage.artifacts(PUSHED)
        if (destination := str(artifact.properties.get("pushed_destination", "")))
        and not urlsplit(destination).scheme
    }


def _without_newest(found: Sequence[Leftover], number: int) -> Iterator[Leftover]:
    newest_first = sorted(found, key=lambda each: each.changed_at, reverse=True)
    for position, each in enumerate(newest_first):
        yield replace(each, keep_reason=_NEWEST) if position < number else each


def _keep(each: Leftover, since: datetime) -> Leftover:
    """Adds a reason to keep a file that is new or in use."""
    if each.keep_reason:
        return each
    if each.changed_at >= since:
        return replace(each, keep_reason=RECENT)
    with if_unused(_lock_of(each)) as is_unused:
        return each if is_unused else replace(each, keep_reason=_IN_USE)


def _lock_of(each: Leftover) -> Path:
    """Returns the lock that a process holds while it uses a file; it may not exist."""
    name = _CHECKPOINT_LOCK if each.type_name == _CHECKPOINTS else LOCK
    return each.path if each.type_name == _LOCK else each.path / name


def _existing(kind: str, paths: Iterable[Path]) -> list[Leftover]:
    """Measures files and folders that exist and are no links."""
    found = []
    for path in paths:
        with suppress(FileNotFoundError):  # Another process may be deleting it.
            status = path.lstat()
            if path.is_symlink():
                continue
            newest, size = status.st_mtime, 0 if path.is_dir() else status.st_size
            for parent, _, names in os.walk(path):
                for inner in (os.lstat(os.path.join(parent, name)) for name in names):
                    newest, size = max(newest, inner.st_mtime), size + inner.st_size
            changed_at = datetime.fromtimestamp(newest, timezone.utc)
            found.append(Leftover(kind, path, changed_at, size))
    return found


def _delete(path: Path) -> None:
    if not path.is_dir():
        path.unlink()
        return
    # A server must not see a version of which files are missing.
    hidden = path.with_name(f".deleted-{path.name.lstrip('.')}")
    os.replace(path, hidden)
    shutil.rmtree(hidden)
