"""Files of a checkpoint: the arrays, the remaining state as JSON, and the hashes of both.

The hashes are written last: a folder without them is incomplete and ignored. No folder is renamed,
because mounts of object stores do not support it.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from tfx_feeder.common.files import atomic_write, sync_folder

PREFIX = "at-"
"""Prefix of the name of a checkpoint's folder, before its position."""
_ARRAYS = "arrays.npz"
_STATE = "state.json"
_HASHES = "hashes.json"
_TRAINING, _DTYPES = "training", "dtypes"

TrainingId = Mapping[str, str]
"""What a training consists of, by part, each as a hash or a short text."""


@dataclass(frozen=True)
class Checkpoint:
    """The complete state of a training run at one moment.

    Args:
        examples_seen: Position in the stream of examples.
        arrays: Variables and other arrays.
        state: All other state, as JSON values.
    """

    examples_seen: int
    arrays: Mapping[str, np.ndarray]
    state: Mapping[str, Any]


def committed(folder: Path) -> list[Path]:
    """Returns the folders of the complete checkpoints in a folder, in the order of position."""
    return sorted(path for path in folder.glob(f"{PREFIX}*") if (path / _HASHES).exists())


def read_checkpoint(folder: Path) -> Checkpoint:
    """Reads a checkpoint.

    Raises:
        OSError: A file cannot be read.
        ValueError: A file is damaged.
    """
    hashes = json.loads((folder / _HASHES).read_text())
    if not isinstance(hashes, dict) or not hashes:
        raise ValueError(f"{_HASHES} holds no hashes")
    for name, expected in hashes.items():
        if _hash(folder / name) != expected:
            raise ValueError(f"the hash of {name} does not match")
    state = json.loads((folder / _STATE).read_text())
    state.pop(_TRAINING, None)
    dtypes = state.pop(_DTYPES, {})
    with np.load(folder / _ARRAYS) as file:
        arrays = {
            name: file[name].view(dtypes[name]) if name in dtypes else file[name]
            for name in file.files
        }
    return Checkpoint(state.pop("examples_seen"), arrays, state)


def write_checkpoint(checkpoint: Checkpoint, training_id: TrainingId, folder: Path) -> None:
    """Writes a checkpoint in place of what a folder holds; nothing is left of a write that fails.

    Args:
        checkpoint: Checkpoint to write.
        training_id: Training that it belongs to.
        folder: Folder of the checkpoint.

    Raises:
        OSError: The disk does not take the files.
    """
    remove_checkpoint(folder)
    try:
        folder.mkdir(parents=True)
        dtypes, arrays = _plain_arrays(checkpoint.arrays)
        document = {
            "examples_seen": checkpoint.examples_seen,
            _TRAINING: training_id,
            _DTYPES: dtypes,
            **checkpoint.state,
        }
        hashes = {}
        with _hashing(folder / _ARRAYS, hashes) as file:
            np.savez(file, **arrays)
        with _hashing(folder / _STATE, hashes) as file:
            file.write(json.dumps(document).encode())
        atomic_write(folder / _HASHES, json.dumps(hashes))
        sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # The disk may be full.
        raise


def remove_checkpoint(folder: Path) -> None:
    """Removes a checkpoint. Without its hashes, a folder removed in part is incomplete."""
    (folder / _HASHES).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def different_parts(folder: Path, training_id: TrainingId) -> list[str]:
    """Returns the parts in which the training of a folder's checkpoints differs from another.

    Args:
        folder: Folder of checkpoints.
        training_id: The other training.
    """
    for path in reversed(committed(folder)):
        try:
            hashes = json.loads((path / _HASHES).read_text())
            # Damaged, it may still be JSON, with another training in it.
            if not isinstance(hashes, dict) or _hash(path / _STATE) != hashes.get(_STATE):
                continue
            saved = json.loads((path / _STATE).read_text()).get(_TRAINING, {})
        except (OSError, ValueError):
            continue  # Damaged; reported when it is restored.
        return [key for key in saved if saved[key] != training_id.get(key, saved[key])]
    return []


def _plain_arrays(
    arrays: Mapping[str, np.ndarray],
) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Views arrays of types that NumPy's file format does not know as integers.

    Returns:
        The types of these arrays, such as ``bfloat16``, and all arrays.
    """
    dtypes: dict[str, str] = {}
    plain: dict[str, np.ndarray] = {}
    for name, value in arrays.items():
        array = np.asarray(value)
        if array.dtype.isbuiltin == 2:  # Registered by ml_dtypes.
            dtypes[name] = array.dtype.name
            array = array.view(f"u{array.dtype.itemsize}")
        plain[name] = array
    return dtypes, plain


class _HashingFile:
    """Hashes what is written to a file that cannot seek."""

    def __init__(self, file: IO[bytes]) -> None:
        self.digest = hashlib.sha256()
        self._file = file

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def read(self, _: int = -1) -> bytes:
        """NumPy takes an object with this method for a file."""
        raise OSError("write only")


@contextlib.contextmanager
def _hashing(path: Path, hashes: dict[str, str]) -> Iterator[Any]:
    """Opens a new file; on exit, flushes it to the disk and adds its hash to ``hashes``."""
    with path.open("wb") as file:
        hashing = _HashingFile(file)
        yield hashing
        file.flush()
        os.fsync(file.fileno())
    hashes[path.name] = hashing.digest.hexdigest()


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
