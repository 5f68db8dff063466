"""Folders of data in spans: ``span-1``, ``span-2`` and so on, with or without leading zeros.

The module is light: deciding about a retraining needs no image library.
"""

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from tfx_feeder.common.errors import DataError
from tfx_feeder.common.files import atomic_write

_SPAN = re.compile(r"span-([0-9]{1,18})")
_OWNERS = ".pipelines"
_HASH_DIGITS = 6
_MAX_CLOCK_ERROR_S = 86_400
"""Seconds in the future after which a change was made by a wrong clock, not by a fast one."""
BUILT_IN_NAMES = ("digits", "cifar10", "fashion_mnist")
"""Names of the built-in data sets, which no folder's pipeline has."""


def pipeline_name(folder: Path, data_root: Path) -> str:
    """Returns the pipeline name for a data folder: its own, if no other folder has it already.

    A second folder of the same name gets a hash of its path behind it, so that it does not share
    models with the first.

    Args:
        folder: Absolute path of the data folder.
        data_root: Folder in which the root records the folder of each pipeline.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-") or "data"
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:_HASH_DIGITS]
    own = f"{plain}-{digest}"
    if plain in BUILT_IN_NAMES:
        return own
    owner = _owner_file(plain, data_root)
    try:
        path = os.fsdecode(owner.read_bytes())
    except OSError:
        return plain
    # A folder that was moved keeps its pipeline.
    return plain if path == str(folder) or not os.path.isdir(path) else own


def claim_pipeline_name(name: str, folder: Path, data_root: Path) -> None:
    """Records the folder that a pipeline is named after.

    Args:
        name: Result of ``pipeline_name``.
        folder: Absolute path of the data folder.
        data_root: Folder of the records; created if missing.
    """
    owner, content = _owner_file(name, data_root), os.fsencode(folder)
    if owner.exists() and owner.read_bytes() == content:
        return
    with contextlib.suppress(OSError):  # In a root that only allows reading, nothing is trained.
        owner.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(owner, content)


def _owner_file(name: str, data_root: Path) -> Path:
    return data_root / _OWNERS / name


def spans_in(folder: Path) -> tuple[int, ...]:
    """Returns the sorted spans of a folder; empty for data without spans."""
    return tuple(sorted(_folders(folder)))


def stable_spans(folder: Path, before: float) -> tuple[int, ...]:
    """Returns the non-empty spans without changes since a time.

    Args:
        folder: Folder that contains the spans.
        before: Time of the last accepted change, in seconds since the epoch.
    """
    # Copying tools may preserve the modification time, but they cannot set the change time.
    after = time.time() + _MAX_CLOCK_ERROR_S
    folders = _folders(folder).items()
    return tuple(sorted(span for span, path in folders if _is_stable(path, before, after)))


def span_pattern(folder: Path, span: int) -> str:
    """Returns the pattern of the contents of a span.

    Args:
        folder: Folder that contains the spans.
        span: One of ``spans_in``.
    """
    return f"{_folders(folder)[span].name}/*"


def _folders(folder: Path) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for entry in sorted(folder.iterdir()):
        if (match := _SPAN.fullmatch(entry.name)) and entry.is_dir():
            other = found.setdefault(int(match[1]), entry)
            if other != entry:
                raise DataError(
                    f"{other} and {entry.name} are the same span. Rename or merge one of them."
                )
    return found


def _is_stable(folder: Path, before: float, after: float) -> bool:
    """Returns True if all changes were made before a time, or after one by a wrong clock."""
    try:
        return any(folder.iterdir()) and not any(
            before < changed <= after for changed in _changes(folder)
        )
    except FileNotFoundError:  # A file was moved or removed meanwhile, so copying is in progress.
        return False


def _changes(folder: Path) -> Iterator[float]:
    yield folder.stat().st_ctime
    for path in folder.rglob("*"):
        # A link to a file that does not exist stays what it is: nothing is being copied there.
        dangling = path.is_symlink() and not path.exists()
        yield path.stat(follow_symlinks=not dangling).st_ctime
