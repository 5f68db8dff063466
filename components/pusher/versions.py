"""Version folders that a model server finds whole, with numbers that only grow."""

import contextlib
import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from tfx_feeder.common.files import remove, sync_folder, sync_tree

INCOMING = ".incoming-"
"""Prefix of hidden folders with versions that are being copied; servers ignore these names."""
_MAX_VERSION = 2**63 - 2
"""Largest version after which there is another one; servers read them as 64-bit integers."""
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


@contextlib.contextmanager
def incoming_folder(base: Path) -> Iterator[Path]:
    """Yields an empty hidden folder below a serving folder, and removes it afterwards.

    Folders that killed processes left are removed first.

    Args:
        base: Folder of all versions of a model; created if it does not exist.
    """
    base.mkdir(parents=True, exist_ok=True)
    for leftover in leftovers(base):
        remove(leftover)
    while True:
        folder = base / f"{INCOMING}{os.getpid()}-{secrets.token_hex(4)}"
        folder.mkdir()
        with contextlib.ExitStack() as stack:
            if not _lock(folder, stack):
                continue  # Another process took it for a leftover.
            stack.callback(remove, folder)
            yield folder
            return


def leftovers(base: Path) -> list[Path]:
    """Returns the hidden folders below a serving folder whose process has ended."""
    found = []
    for folder in sorted(base.glob(f"{INCOMING}*")):
        with contextlib.ExitStack() as stack:
            if _lock(folder, stack):
                found.append(folder)
    return found


def publish(written: Path, base: Path) -> Path:
    """Flushes a version to the disk and renames it to its number.

    The number is the Unix time, or the next one after the highest that exists: a server loads the
    highest, so a clock that is set back must not hide a new model.

    Args:
        written: Complete files of the version, on the file system of ``base``.
        base: Folder of all versions of the model.

    Returns:
        The folder of the version.
    """
    sync_tree(written)
    version = max(int(time.time()), highest_version(base) + 1)
    while True:
        target = base / str(version)
        try:
            os.rename(written, target)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            version += 1  # Another process has just published this number.
            continue
        sync_folder(base)
        return target


def highest_version(base: Path) -> int:
    """Returns the highest version below a serving folder; 0 if there is none."""
    names = [path.name for path in base.iterdir()] if base.is_dir() else []
    numbers = (int(name) for name in names if name.isascii() and name.isdecimal())
    return max((number for number in numbers if number <= _MAX_VERSION), default=0)


def _lock(folder: Path, stack: contextlib.ExitStack) -> bool:
    """Locks a folder until the stack ends; returns False if it is gone or in use."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        stack.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Without locks, a folder of this process is usable, and those of others are left alone.
        return error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL) and _is_own(folder)
    return folder.is_dir()


def _is_own(folder: Path) -> bool:
    return folder.name.startswith(f"{INCOMING}{os.getpid()}-")
