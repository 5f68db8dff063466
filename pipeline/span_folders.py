"""Folders of data that grow by spans: ``span-1``, ``span-2`` and so on."""

import re
from collections.abc import Iterator
from pathlib import Path

_SPAN = re.compile(r"span-(\d+)")


def pipeline_name(folder: Path) -> str:
    """Returns the name of the pipeline that trains on a folder."""
    return re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-") or "data"


def spans_in(folder: Path) -> tuple[int, ...]:
    """Returns the spans of a folder in order; empty where it holds one set only."""
    return tuple(sorted(_folders(folder)))


def stable_spans(folder: Path, before: float) -> tuple[int, ...]:
    """Returns the spans in which nothing has changed since a time, and which hold something.

    Args:
        folder: Holds the spans.
        before: Seconds since the epoch.
    """
    # Copying tools may keep the time of writing; that of the last change they cannot set.
    return tuple(
        sorted(span for span, path in _folders(folder).items() if _is_settled(path, before))
    )


def _folders(folder: Path) -> dict[int, Path]:
    return {
        int(match[1]): entry
        for entry in folder.iterdir()
        if (match := _SPAN.fullmatch(entry.name)) and entry.is_dir()
    }


def _is_settled(folder: Path, before: float) -> bool:
    try:
        return any(folder.iterdir()) and all(changed <= before for changed in _changes(folder))
    except FileNotFoundError:  # Something was moved or removed meanwhile: it is at work.
        return False


def _changes(folder: Path) -> Iterator[float]:
    yield folder.stat().st_ctime
    for path in folder.rglob("*"):
        yield path.stat().st_ctime
