"""Hashes of the files of a folder, and what differs from hashes that were taken before."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from tfx_feeder.common.errors import DataError

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileDifferences:
    """How a folder differs from what it was.

    Args:
        changed: Files with other contents.
        missing: Files that are not there any more.
        added: Files that were not there.
    """

    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.missing or self.added)

    def __str__(self) -> str:
        parts = {"changed": self.changed, "missing": self.missing, "added": self.added}
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names)


def hash_files(folder: Path, leave_out: Collection[str] = ()) -> dict[str, str]:
    """Hashes every file of a folder and of the folders in it.

    Args:
        folder: Where they are.
        leave_out: Names of files in ``folder`` itself to pass over.

    Returns:
        SHA-256 in hexadecimal digits by path in the folder, in order.

    Raises:
        DataError: A file cannot be read.
    """
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    try:
        return {
            name: _hash(path)
            for name, path in sorted(paths.items())
            if name not in leave_out and path.is_file()
        }
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}.") from error


def compare(before: Mapping[str, str], now: Mapping[str, str]) -> FileDifferences:
    """Compares what ``hash_files`` returned at two times."""
    return FileDifferences(
        changed=tuple(name for name in before if name in now and before[name] != now[name]),
        missing=tuple(name for name in before if name not in now),
        added=tuple(name for name in now if name not in before),
    )


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
