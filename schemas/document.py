"""JSON files that say what they are: a format, its version, and the rest."""

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tfx_feeder.common.errors import DataError

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class JsonDocument:
    """One kind of file.

    Args:
        name: Stands in the file, such as ``"tfx_feeder.training_history"``.
        version: That this release writes and reads.
        file_name: Under which it lies in its folder.
        title: What it is called in errors.
    """

    name: str
    version: int
    file_name: str
    title: str

    def write(self, document: Mapping[str, Any], folder: str | Path) -> Path:
        """Writes a file into a folder, whole or not at all.

        Args:
            document: What JSON can hold.
            folder: Made where it is missing.

        Returns:
            The path of the file.
        """
        path = Path(folder) / self.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": self.name, "version": self.version, **document}, indent=1)
        partial = path.with_suffix(".partial")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
        return path

    def read(self, folder: str | Path, make: Callable[[dict[str, Any]], _T]) -> _T:
        """Reads the file of a folder.

        Args:
            folder: Where it lies.
            make: Makes a value of the document, without format and version.

        Raises:
            DataError: There is none, it is damaged, or of another version.
        """
        path = Path(folder) / self.file_name
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"No {self.title} can be read from {path}: {error}") from error
        if not isinstance(document, dict) or document.pop("format", None) != self.name:
            raise DataError(f"{path} is not a {self.title}: its format is not {self.name!r}.")
        version = document.pop("version", None)
        if version != self.version:
            raise DataError(
                f"{path} has version {version}; this release reads {self.version}. "
                "Upgrade tfx-feeder."
            )
        try:
            return make(document)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path} is damaged: {type(error).__name__}: {error}.") from error


def storable(value: float) -> float | str:
    """Returns infinities and NaN as text: neither JSON nor ML Metadata takes them as numbers."""
    return value if math.isfinite(value) else str(float(value))
