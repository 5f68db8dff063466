"""Versioned JSON documents."""

import json
import math
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tfx_feeder.common.errors import DataError
from tfx_feeder.common.files import atomic_write
from tfx_feeder.schemas.type_check import check_types

_T = TypeVar("_T")
_MOST_BYTES = 1 << 28
"""Size above which a file is not a document of this suite."""
_DAMAGED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


@dataclass(frozen=True, slots=True)
class JsonDocument:
    """Versioned JSON file format.

    Args:
        name: Format name in the file, such as ``"tfx_feeder.training_history"``.
        version: Format version that this release writes.
        file_name: Name of the file in its folder.
        title: Name of the format in error messages.
        oldest_version: Oldest version that can be read; ``None`` if only ``version`` can.
    """

    name: str
    version: int
    file_name: str
    title: str
    oldest_version: int | None = None

    def write(self, document: Mapping[str, Any], folder: str | Path) -> Path:
        """Writes a document to a folder atomically.

        Args:
            document: Content, in JSON types.
            folder: Target folder; created if missing.

        Returns:
            Path of the file.
        """
        path = Path(folder) / self.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": self.name, "version": self.version, **document}, indent=1)
        atomic_write(path, text)
        return path

    def read(self, folder: str | Path, make: Callable[[dict[str, Any]], _T]) -> _T:
        """Reads the document of a folder.

        Args:
            folder: Folder that contains the file.
            make: Function from the content, without format and version, to a dataclass.

        Raises:
            DataError: The file is missing, damaged, or has an unknown version.
        """
        path = Path(folder) / self.file_name
        try:
            document = json.loads(_read_text(path))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"No {self.title} can be read from {path}: {error}") from error
        if not isinstance(document, dict) or document.pop("format", None) != self.name:
            raise DataError(f"{path} is not a {self.title}: its format is not {self.name!r}.")
        version = document.pop("version", None)
        oldest = self.oldest_version or self.version
        if not isinstance(version, int) or not oldest <= version <= self.version:
            known = f"{oldest} to {self.version}" if oldest < self.version else str(oldest)
            raise DataError(
                f"{path} has version {version}; this release reads {known}. Upgrade tfx-feeder."
            )
        try:
            record = make(document)
            check_types(record)
        except _DAMAGED as error:
            raise DataError(f"{path} is damaged: {type(error).__name__}: {error}.") from error
        return record


def _read_text(path: Path) -> str:
    """Reads a regular file.

    Raises:
        OSError: The file cannot be read.
        ValueError: It has no end that could be waited for, or is too large.
    """
    # Folders of models are copied from elsewhere: a pipe would block, a device never end.
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is not a file")
    if status.st_size > _MOST_BYTES:
        raise ValueError(f"it has {status.st_size:,} bytes")
    return path.read_text(encoding="utf-8")


def storable(value: float) -> float | str:
    """Returns infinities and NaN as text; JSON and ML Metadata reject them as numbers."""
    return value if math.isfinite(value) else str(float(value))
