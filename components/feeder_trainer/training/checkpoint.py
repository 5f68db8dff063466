"""Checkpoints that survive a kill at any moment: written aside, renamed, verified when read.

A checkpoint is a folder ``at-<examples seen>`` with the arrays, the rest of the state as JSON, and
the hashes of both. The folder gets its name by one atomic rename, so that a half-written one is
never mistaken for a whole one.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_ARRAYS = "arrays.npz"
_STATE = "state.json"
_HASHES = "hashes.json"
_PREFIX = "at-"


@dataclass(frozen=True)
class Checkpoint:
    """The whole state of a training at one moment.

    Args:
        examples_seen: Position in the stream of examples.
        arrays: Variables and other arrays.
        state: All the rest; JSON.
    """

    examples_seen: int
    arrays: Mapping[str, np.ndarray]
    state: Mapping[str, Any]


class CheckpointManager:
    """Writes checkpoints now and then, keeps the newest, and finds the last good one.

    Args:
        folder: Where they go; made when first written to.
        every_s: Seconds between two.
        every_examples: Examples between two, instead of the former.
        keep: Number of checkpoints kept.
        writes: ``False``: another process writes them, and this one only reads.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        every_s: float = 60.0,
        every_examples: int | None = None,
        keep: int = 2,
        writes: bool = True,
    ) -> None:
        self.folder = Path(folder)
        self._every_s = every_s
        self._every_examples = every_examples
        self._keep = keep
        self._writes = writes
        self._last_time = time.monotonic()
        self._last_examples = 0

    def is_due(self, examples_seen: int) -> bool:
        """Says whether it is time for the next one."""
        if self._every_examples is not None:
            return examples_seen - self._last_examples >= self._every_examples
        return time.monotonic() - self._last_time >= self._every_s

    def examples_until_due(self, examples_seen: int) -> int | None:
        """Returns how many examples are left until the next one; ``None`` if it goes by time."""
        if self._every_examples is None:
            return None
        return max(1, self._last_examples + self._every_examples - examples_seen)

    def write(self, checkpoint: Checkpoint) -> Path:
        """Writes a checkpoint, whole or not at all, and removes the oldest.

        Returns:
            Its folder.
        """
        self._last_time = time.monotonic()
        self._last_examples = checkpoint.examples_seen
        final = self.folder / f"{_PREFIX}{checkpoint.examples_seen:015d}"
        if not self._writes:
            return final
        partial = self.folder / f".partial-{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with open(partial / _ARRAYS, "wb") as file:
            np.savez(file, **{k: np.asarray(v) for k, v in checkpoint.arrays.items()})
        document = {"examples_seen": checkpoint.examples_seen, **checkpoint.state}
        (partial / _STATE).write_text(json.dumps(document))
        hashes = {name: _hash(partial / name) for name in (_ARRAYS, _STATE)}
        (partial / _HASHES).write_text(json.dumps(hashes))
        for name in (_ARRAYS, _STATE, _HASHES):
            _flush(partial / name)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)
        for old in self._all()[: -self._keep]:
            shutil.rmtree(old, ignore_errors=True)
        return final

    def read_last(self, warn: Callable[[str], None]) -> Checkpoint | None:
        """Reads the newest checkpoint that is whole.

        Args:
            warn: Told, in one sentence, of each damaged checkpoint that is skipped.

        Returns:
            ``None`` if there is none.
        """
        for folder in reversed(self._all()):
            try:
                checkpoint = _read(folder)
            except (OSError, ValueError, KeyError) as error:
                warn(f"The checkpoint {folder} is damaged and was skipped: {error}")
                continue
            self._last_examples = checkpoint.examples_seen
            return checkpoint
        return None

    def last_path(self) -> Path | None:
        """Returns the folder of the newest checkpoint."""
        folders = self._all()
        return folders[-1] if folders else None

    def remove(self) -> None:
        """Removes all checkpoints: the training is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob(f"{_PREFIX}*"))


def _read(folder: Path) -> Checkpoint:
    for name, expected in json.loads((folder / _HASHES).read_text()).items():
        if _hash(folder / name) != expected:
            raise ValueError(f"{name} is not what was written")
    state = json.loads((folder / _STATE).read_text())
    with np.load(folder / _ARRAYS) as file:
        arrays = {name: file[name] for name in file.files}
    return Checkpoint(state.pop("examples_seen"), arrays, state)


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    """Waits until the disk has the file, because a rename can overtake the data before a crash."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
