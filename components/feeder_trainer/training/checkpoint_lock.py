"""Lock of a folder of checkpoints, which belongs to one process at a time."""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import IO

from tfx_feeder.components.feeder_trainer.training.checkpoint_files import PREFIX

_LOCK = ".lock"


def try_lock(folder: Path) -> IO[bytes] | None:
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


def unlock(folder: Path, lock: IO[bytes]) -> None:
    """Unlocks a folder, and removes it if it contains no checkpoint.

    Args:
        folder: Locked folder.
        lock: Result of ``try_lock``.
    """
    with contextlib.suppress(OSError):
        if not any(folder.glob(f"{PREFIX}*")):
            (folder / _LOCK).unlink()
            folder.rmdir()
    lock.close()
