"""Folders of data in spans: ``span-1``, ``span-2`` and so on.

The module is light: deciding about a retraining needs no image library.
"""

import re
from collections.abc import Iterator
from pathlib import Path

_SPAN = re.compile(r"span-(\d+)")


def pipeline_name(folder: Path) -> str:
    """Returns the pipeline name for a data folder."""
    return re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-") or "data"


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
    return tuple(
        sorted(span for span, path in _folders(folder).items() if _is_stable(path, before))
    )


def _folders(folder: Path) -> dict[int, Path]:
    return {
        int(match[1]): entry
        for entry in folder.iterdir()
        if (match := _SPAN.fullmatch(entry.name)) and entry.is_dir()
    }


def _is_stable(folder: Path, before: float) -> bool:
    try:
        return any(folder.iterdir()) and all(changed <= before for changed in _changes(folder))
    except FileNotFoundError:  # A file was moved or removed meanwhile, so copying is in progress.
        return False


def _changes(folder: Path) -> Iterator[float]:
    yield folder.stat().st_ctime
    for path in folder.rglob("*"):
        # A link to a file that does not exist stays what it is: nothing is being copied there.
        dangling = path.is_symlink() and not path.exists()
        yield path.stat(follow_symlinks=not dangling).st_ctime
