"""Checkpoint files that survive a kill at any moment: written beside the training, then committed.

A checkpoint is a folder ``at-<examples seen>`` that holds the arrays, the remaining state as JSON,
and the hashes of both files. The hashes are written last: a folder without them is incomplete and
ignored. No folder is renamed, because mounts of object stores do not support it.
"""

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from tfx_feeder.common.errors import FeederError
from tfx_feeder.common.files import atomic_write

MAX_COST_FRACTION = 0.05
"""Maximum fraction of the time spent on checkpoints, unless their interval is given in examples."""

_ARRAYS = "arrays.npz"
_STATE = "state.json"
_HASHES = "hashes.json"
_LOCK = ".lock"
_PREFIX = "at-"
_OLD_PARTIAL = ".partial-*"
"""Unfinished checkpoints of release 0.1.0."""
_TRAINING, _DTYPES = "training", "dtypes"

Warn = Callable[[str], None]
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


class CheckpointManager:
    """Saves checkpoints periodically, keeps the newest, and finds the last intact one.

    The folder belongs to one training and to one running process. If it contains checkpoints of
    another training, or another process uses it, the next of ``folder-2``, ``folder-3``, ... is
    taken.

    Args:
        folder: Folder of the checkpoints.
        training_id: Identity of the training. Checkpoints whose identity has a different value for
            one of the keys are not used; checkpoints of release 0.1.0 have no identity.
        every_s: Seconds between two checkpoints; more if they would take more than
            ``MAX_COST_FRACTION`` of the time.
        every_examples: Examples between two checkpoints; replaces ``every_s``.
        keep: Number of checkpoints to keep.
        read_only: If True, another process saves the checkpoints and this one only restores them.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        training_id: TrainingId | None = None,
        every_s: float = 60.0,
        every_examples: int | None = None,
        keep: int = 2,
        read_only: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self._base = Path(folder)
        self._training_id = dict(training_id or {})
        self._every_s = every_s
        self._every_examples = every_examples
        self._keep = keep
        self._read_only = read_only
        self._lock: IO[bytes] | None = None
        self._writer: threading.Thread | None = None
        self._error: Exception | None = None
        self._cost_s = 0.0
        self._last_time = time.monotonic()
        self._last_examples = 0
        self._is_saved = False

    # Ownership of the folder.

    def open(self, warn: Warn) -> int:
        """Takes the first folder that neither another training nor another process uses.

        Args:
            warn: Function that receives one sentence for each folder that is passed over.

        Returns:
            The number of the folder, for ``open_read_only`` of other processes.
        """
        begun = [n for n in self._existing() if _committed(self._numbered(n))]
        numbers = itertools.chain(begun, (n for n in itertools.count(1) if n not in begun))
        while True:
            number = next(numbers)
            folder = self._numbered(number)
            lock = _try_lock(folder)
            if lock is None:
                warn(f"Another process that is running uses the checkpoints in {folder}.")
                continue
            if different := _different_parts(folder, self._training_id):
                _unlock(folder, lock)
                warn(
                    f"The checkpoints in {folder} belong to another training, which differs in "
                    f"its {' and '.join(different)}; they are not used."
                )
                continue
            self.folder, self._lock = folder, lock
            return number

    def open_read_only(self, number: int) -> None:
        """Uses the folder that another process has opened.

        Args:
            number: Return value of ``open`` in that process.
        """
        self.folder = self._numbered(number)

    def close(self) -> None:
        """Waits for the last write, whose error is ignored, and gives the folder free."""
        self.finish()
        if self._lock is not None:
            _unlock(self.folder, self._lock)
            self._lock = None

    def remove(self) -> None:
        """Removes the checkpoints of this training, except those that a running process uses."""
        self.close()
        for number in self._existing():
            folder = self._numbered(number)
            lock = _try_lock(folder)
            if lock is None:
                continue
            if not _different_parts(folder, self._training_id):
                shutil.rmtree(folder, ignore_errors=True)
            _unlock(folder, lock)

    def _existing(self) -> list[int]:
        """Returns the numbers of the folders that exist."""
        first = [1] if self._base.exists() else []
        prefix = f"{self._base.name}-"
        suffixes = [path.name.removeprefix(prefix) for path in self._base.parent.glob(f"{prefix}*")]
        return first + sorted(int(suffix) for suffix in suffixes if suffix.isdecimal())

    def _numbered(self, number: int) -> Path:
        return self._base if number == 1 else self._base.with_name(f"{self._base.name}-{number}")

    # Intervals.

    def should_save(self, examples_seen: int) -> bool:
        """Returns True if a checkpoint is due, and the last one is not at this position already."""
        if self.is_saved(examples_seen):
            return False
        if self._every_examples is not None:
            return examples_seen - self._last_examples >= self._every_examples
        if self._writer is not None and self._writer.is_alive():
            return False
        pause_s = max(self._every_s, self._cost_s * (1 / MAX_COST_FRACTION - 1))
        return time.monotonic() - self._last_time >= pause_s

    def examples_until_due(self, examples_seen: int) -> int | None:
        """Returns the number of examples until the next checkpoint; ``None`` if time decides."""
        if self._every_examples is None:
            return None
        return max(1, self._last_examples + self._every_examples - examples_seen)

    def is_saved(self, examples_seen: int) -> bool:
        """Returns True if the last checkpoint, saved or restored, is at this position."""
        return self._is_saved and self._error is None and self._last_examples == examples_seen

    # Files.

    def save(self, checkpoint: Checkpoint, *, began: float | None = None) -> Path:
        """Begins to write a checkpoint in a thread, which then removes the oldest checkpoints.

        Waits first for the previous write. Call ``finish`` to wait for this one.

        Args:
            checkpoint: Checkpoint; its arrays must not be modified any more.
            began: Value of ``time.monotonic`` when its state began to be copied, which counts as
                cost of the checkpoint; ``None`` for now.

        Returns:
            The folder of the checkpoint.
        """
        began = time.monotonic() if began is None else began
        self.finish()
        self._last_examples = checkpoint.examples_seen
        self._is_saved = True
        folder = self._folder_at(checkpoint.examples_seen)
        if self._read_only:
            self._last_time = time.monotonic()
            return folder

        def write() -> None:
            try:
                self._write(checkpoint, folder)
            except Exception as error:
                self._error = error
            self._last_time = time.monotonic()
            self._cost_s = self._last_time - began

        self._error = None
        self._writer = threading.Thread(target=write, name="checkpoint")
        self._writer.start()
        return folder

    def finish(self) -> OSError | None:
        """Waits for the current write.

        Returns:
            The error because of which it failed, once; ``None`` if it succeeded.

        Raises:
            Exception: The checkpoint contains what cannot be written.
        """
        if self._writer is None:
            return None
        self._writer.join()
        self._writer = None
        if self._error is None or isinstance(self._error, OSError):
            return self._error
        raise self._error

    def restore_latest(self, warn: Warn) -> Checkpoint | None:
        """Reads the newest intact checkpoint.

        Args:
            warn: Function that receives one sentence for each damaged checkpoint.

        Returns:
            The checkpoint; ``None`` if there is none.
        """
        for folder in reversed(_committed(self.folder)):
            try:
                checkpoint = _read(folder)
            except (OSError, ValueError, KeyError) as error:
                warn(f"The checkpoint {folder} is damaged and was skipped: {error}")
                continue
            return self._restored(checkpoint)
        return None

    def restore_at(self, examples_seen: int) -> Checkpoint:
        """Reads the checkpoint at a position, at which another process has read it.

        Args:
            examples_seen: Position in the stream of examples.

        Raises:
            FeederError: This process cannot read it.
        """
        folder = self._folder_at(examples_seen)
        try:
            return self._restored(_read(folder))
        except (OSError, ValueError, KeyError) as error:
            raise FeederError(
                f"The chief resumes from the checkpoint {folder}, which this process cannot read: "
                f"{error}. All machines must see the same folder of checkpoints."
            ) from error

    def latest_path(self) -> Path | None:
        """Returns the folder of the newest complete checkpoint."""
        folders = _committed(self.folder)
        return folders[-1] if folders else None

    def _restored(self, checkpoint: Checkpoint) -> Checkpoint:
        self._last_examples, self._is_saved = checkpoint.examples_seen, True
        return checkpoint

    def _folder_at(self, examples_seen: int) -> Path:
        return self.folder / f"{_PREFIX}{examples_seen:015d}"

    def _write(self, checkpoint: Checkpoint, folder: Path) -> None:
        (folder / _HASHES).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(parents=True)
            dtypes, arrays = _plain_arrays(checkpoint.arrays)
            document = {
                "examples_seen": checkpoint.examples_seen,
                _TRAINING: self._training_id,
                _DTYPES: dtypes,
                **checkpoint.state,
            }
            hashes = {}
            with _hashing(folder / _ARRAYS, hashes) as file:
                np.savez(file, **arrays)
            with _hashing(folder / _STATE, hashes) as file:
                file.write(json.dumps(document).encode())
            atomic_write(folder / _HASHES, json.dumps(hashes), sync=True)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)  # The disk may be full.
            raise
        # Checkpoints at later positions are damaged: this training has passed them over.
        intact = [path for path in _committed(self.folder) if path.name <= folder.name]
        kept = intact[-self._keep :]
        for old in [*self.folder.glob(f"{_PREFIX}*"), *self.folder.glob(_OLD_PARTIAL)]:
            if old not in kept:
                # Without its hashes, a folder that is removed in part is incomplete.
                (old / _HASHES).unlink(missing_ok=True)
                shutil.rmtree(old, ignore_errors=True)


def _committed(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if (path / _HASHES).exists())


def _read(folder: Path) -> Checkpoint:
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


def _different_parts(folder: Path, training_id: TrainingId) -> list[str]:
    """Returns the parts in which the training of a folder's checkpoints differs from this one."""
    for path in reversed(_committed(folder)):
        try:
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


def _try_lock(folder: Path) -> IO[bytes] | None:
    """Locks a folder for as long as this process lives, or returns ``None`` if it is locked.

    A folder that cannot be locked, for example on a file system without locks, counts as locked by
    this process.
    """
    path = folder / _LOCK
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = path.open("wb")
        except OSError:
            return open(os.devnull, "wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        except OSError:
            return file
        try:
            is_same = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except OSError:
            is_same = False
        if is_same:
            return file
        file.close()  # Its previous owner has removed the folder.


def _unlock(folder: Path, lock: IO[bytes]) -> None:
    """Unlocks a folder, and removes it if it contains no checkpoint."""
    with contextlib.suppress(OSError):
        if not any(folder.glob(f"{_PREFIX}*")):
            (folder / _LOCK).unlink()
            folder.rmdir()
    lock.close()
