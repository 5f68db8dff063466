"""Folders of a pipeline."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import is_text

LEAST_FREE_BYTES = 64 << 20
_PATTERN_CHARACTERS = frozenset("*?[]")


@dataclass(frozen=True, slots=True)
class Workspace:
    """Folders of a pipeline below its root.

    Args:
        root: Folder of all outputs.
        pipeline: Name of the pipeline.
    """

    root: Path
    pipeline: str

    @property
    def data(self) -> Path:
        """Downloaded and generated data sets."""
        return self.root / "data"

    @property
    def metadata(self) -> Path:
        """SQLite file with the ML Metadata store of all pipelines of this root."""
        return self.root / "metadata.sqlite"

    @property
    def artifacts(self) -> Path:
        """Artifacts, with one folder per component."""
        return self.root / "artifacts" / self.pipeline

    @property
    def serving(self) -> Path:
        """Pushed models, with one folder per version."""
        return self.root / "serving" / self.pipeline

    def prepare(self) -> None:
        """Creates the folders."""
        for folder in (self.artifacts, self.serving):
            folder.mkdir(parents=True, exist_ok=True)


def prepare_root(root: Path) -> None:
    """Creates the root and checks that it is writable.

    Raises:
        ConfigError: The root is not writable, the disk is full, or TFX cannot use the path.
    """
    if not is_text(str(root)) or _PATTERN_CHARACTERS.intersection(str(root.absolute())):
        raise ConfigError(
            "root",
            received=str(root),
            expected="a path in UTF-8 without *, ?, [ and ], which TFX takes for patterns",
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root) as probe:
            probe.write(b"\0" * 4096)
    except OSError as error:
        raise ConfigError(
            "root",
            received=str(root),
            expected="a folder that can be written",
            fix=f"{error.strerror}. Choose another folder with --root.",
        ) from error
    free = shutil.disk_usage(root).free
    if free < LEAST_FREE_BYTES:
        raise ConfigError(
            "root",
            received=f"{root} with {free >> 20} MiB free",
            expected=f"at least {LEAST_FREE_BYTES >> 20} MiB free",
            fix="Free some space, or choose another folder with --root.",
        )
