"""Hashes of the files in a folder, and their comparison."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from tfx_feeder.common.errors import DataError

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileDifferences:
    """Differences between two states of a folder.

    Args:
        changed: Files with different contents.
        missing: Removed files.
        added: New files.
    """

    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.missing or self.added)

    def __str__(self) -> str:
        parts = {"changed": self.changed, "missing": self.missing, "added": self.added}
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names)


def hash_files(folder: Path, exclude: Collection[str] = ()) -> dict[str, str]:
    """Hashes every file in a folder, recursively.

    Args:
        folder: Folder of the files.
        exclude: Names of files directly in ``folder`` to skip.

    Returns:
        SHA-256 in hexadecimal digits by path relative to ``folder``, sorted.

    Raises:
        DataError: A file cannot be read.
    """
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    try:
        return {
            name: _hash(path)
            for name, path in sorted(paths.items())
            if name not in exclude and path.is_file()
        }
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}.") from error


def compare(before: Mapping[str, str], now: Mapping[str, str]) -> FileDifferences:
    """Compares two results of ``hash_files``.

    Args:
        before: Earlier hashes.
        now: Current hashes.
    """
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
