"""Temporary folders, locked while they are in use, so that abandoned ones can be recognized."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "tfx-feeder-"
"""Prefix of the names of temporary folders."""
LOCK = ".tfx-feeder.lock"
"""Name of the lock in a temporary folder."""


@contextlib.contextmanager
def temporary_folder(parent: str | None = None) -> Iterator[str]:
    """Creates a temporary folder, and removes it on exit.

    The operating system releases its lock if the process is killed.

    Args:
        parent: Folder in which it is created; the system's temporary folder if ``None``.

    Yields:
        Path of the folder.
    """
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent) as folder,
        open(os.path.join(folder, LOCK), "wb") as lock,
    ):
        with contextlib.suppress(OSError):  # Some file systems have no locks.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder


@contextlib.contextmanager
def if_unused(lock: Path) -> Iterator[bool]:
    """Holds a lock if no process on this machine does.

    Args:
        lock: File of the lock; need not exist.

    Yields:
        False if another process holds the lock.
    """
    try:
        file = lock.open("rb")
    except OSError:
        yield True
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_unused = False
        except OSError:  # A file system without locks.
            is_unused = True
        else:
            is_unused = True
        yield is_unused
