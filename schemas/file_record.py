"""Record of the files of an artifact, kept in ML Metadata, and their comparison with it."""

import contextlib
import fnmatch
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tfx_feeder.common.errors import DataError
from tfx_feeder.common.files import sync_filesystem
from tfx_feeder.common.hashing import hash_files
from tfx_feeder.common.mounts import local_path

PROPERTY = "files_written"
"""Custom property of an artifact with the record of its files."""

_TEXT = re.compile(r"(\d+) files, (\d+) bytes(?:, sha256 ([0-9a-f]{64}))?")
_MAX_HASHED_BYTES = 4 << 30
"""Size up to which contents are hashed: reading them again must not take minutes."""
_NEVER_EMPTY = (
    "saved_model.pb",
    "variables.index",
    "variables.data-*",
    "*.keras",
    "*.gz",
    "*.pbtxt",
    "*.json",
    "FeatureStats.pb",
    "metrics-*.tfrecord",
)
"""Names of files that no component leaves empty; other files, such as ``BLESSED``, may be."""


class OutputArtifact(Protocol):
    """Output artifact of an executor."""

    uri: str

    def set_string_custom_property(self, key: str, value: str) -> None:
        """Sets a custom property.

        Args:
            key: Name of the property.
            value: Value of the property.
        """
        ...


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Number, size and hash of the files in a folder.

    Args:
        files: Number of files.
        bytes: Total size.
        sha256: Hash of the names and contents of all files; empty for very large folders.
    """

    files: int
    bytes: int
    sha256: str = ""

    @classmethod
    def of(cls, folder: Path) -> "FileRecord":
        """Reads the files of a folder.

        Raises:
            OSError: The folder cannot be read.
            DataError: A file cannot be read.
        """
        sizes = _sizes(folder)
        total = sum(sizes.values())
        if total > _MAX_HASHED_BYTES:
            return cls(len(sizes), total)
        hashes = hash_files(folder)
        lines = "".join(f"{digest}  {name}\n" for name, digest in hashes.items())
        return cls(len(sizes), total, hashlib.sha256(lines.encode()).hexdigest())

    @classmethod
    def parse(cls, text: str) -> "FileRecord | None":
        """Returns the record in a custom property; ``None`` if there is none."""
        match = _TEXT.fullmatch(text)
        return cls(int(match[1]), int(match[2]), match[3] or "") if match else None

    def __str__(self) -> str:
        digest = f", sha256 {self.sha256}" if self.sha256 else ""
        return f"{self.files} files, {self.bytes} bytes{digest}"


def seal(outputs: Mapping[str, Iterable[OutputArtifact]]) -> None:
    """Records the files of an execution's outputs, and flushes them to the disk.

    An executor calls this function last, so that ML Metadata never lists outputs that a power
    failure would remove. One flush of the file system covers the outputs of earlier components as
    well. Outputs on object stores are skipped.

    Args:
        outputs: Output artifacts by key.

    Raises:
        DataError: A file cannot be read.
        OSError: The disk did not take the data.
    """
    folders = []
    for artifact in (artifact for group in outputs.values() for artifact in group):
        if "://" not in artifact.uri and (folder := Path(local_path(artifact.uri))).is_dir():
            artifact.set_string_custom_property(PROPERTY, str(FileRecord.of(folder)))
            folders.append(folder)
    sync_folders(folders)


def sync_folders(folders: Iterable[Path]) -> None:
    """Flushes the file systems of folders to the disk, each once.

    Args:
        folders: Existing folders.

    Raises:
        OSError: The disk did not take the data.
    """
    for folder in {folder.stat().st_dev: folder for folder in folders}.values():
        sync_filesystem(folder)


def damage(path: Path, recorded: str, *, contents: bool = False) -> str:
    """Returns what is wrong with the files of an artifact; empty if nothing is known to be.

    Args:
        path: Folder or file of the artifact.
        recorded: Value of ``PROPERTY``; empty for artifacts of other components.
        contents: If True, the contents are compared as well, which reads all files.

    Returns:
        A clause such as ``saved_model.pb is empty``.
    """
    if not path.exists():
        return "the files are missing"
    try:
        sizes = _sizes(path)
        for name, size in sizes.items():
            if not size and any(fnmatch.fnmatch(Path(name).name, each) for each in _NEVER_EMPTY):
                return f"{name} is empty"
        record = FileRecord.parse(recorded)
        if record is None:
            return ""
        total = sum(sizes.values())
        if (len(sizes), total) != (record.files, record.bytes):
            return (
                f"there are {len(sizes)} files with {total:,} bytes instead of {record.files} with "
                f"{record.bytes:,} bytes"
            )
        if contents and record.sha256 and FileRecord.of(path) != record:
            return "the contents are not those that were written"
    except (OSError, DataError) as error:
        return f"the files cannot be read: {error}"
    return ""


def _sizes(folder: Path) -> dict[str, int]:
    """Returns the sizes of the files in a folder by relative path."""
    sizes = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with contextlib.suppress(FileNotFoundError):
                found = os.stat(path)
                if stat.S_ISREG(found.st_mode):
                    sizes[os.path.relpath(path, folder)] = found.st_size
    return dict(sorted(sizes.items()))
