"""Marker of outputs that ML Metadata lists although they may not be on the disk yet.

ML Metadata flushes its records; the components of TFX do not flush their files. After a power
failure, the store may therefore list outputs whose files are empty or cut. During a run, a file in
the root of the pipeline says up to which artifact everything is on the disk, and since which start
of the machine the rest may not be.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tfx_feeder.common.files import atomic_write, sync_folder
from tfx_feeder.pipeline.metadata.types import Artifact
from tfx_feeder.schemas.file_record import PROPERTY

_FILE = ".unsynced.json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class UnsyncedMarker:
    """Extent of the outputs that may not be on the disk.

    Args:
        boot_id: Start of the machine in which the outputs were written.
        last_synced: Highest id of an artifact whose files are on the disk.
    """

    boot_id: str
    last_synced: int

    def is_lost(self, artifact: Artifact) -> bool:
        """Returns True if a power failure may have removed the files of an artifact.

        The components of this suite flush their outputs before the store lists them.
        """
        if self.boot_id == current_boot_id():
            return False
        return artifact.id > self.last_synced and PROPERTY not in artifact.properties


def read_marker(root: Path) -> UnsyncedMarker | None:
    """Returns the marker in the root of a pipeline; ``None`` if there is none."""
    try:
        document = json.loads((root / _FILE).read_text(encoding="utf-8"))
        return UnsyncedMarker(str(document["boot_id"]), int(document["last_synced"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_marker(root: Path, last_synced: int) -> None:
    """Writes the marker.

    Args:
        root: Root of the pipeline.
        last_synced: Highest id of an artifact whose files are on the disk.
    """
    marker = UnsyncedMarker(current_boot_id(), last_synced)
    atomic_write(root / _FILE, json.dumps(asdict(marker)))


def remove_marker(root: Path) -> None:
    """Removes the marker, because all outputs are on the disk."""
    (root / _FILE).unlink(missing_ok=True)
    sync_folder(root)


def lost_artifacts(root: Path, artifacts: Iterable[Artifact]) -> list[Artifact]:
    """Returns the artifacts below a root that a power failure may have damaged.

    Args:
        root: Root of the pipeline.
        artifacts: Artifacts of the pipeline.
    """
    marker = read_marker(root)
    if marker is None:
        return []
    return [a for a in artifacts if a.path.is_relative_to(root) and marker.is_lost(a)]


def current_boot_id() -> str:
    """Returns the id of the running system since its start; empty if it has none."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
