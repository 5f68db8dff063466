"""Files and folders that survive a power failure, and that readers never see in part.

A file is written under a temporary name beside its target, flushed to the disk, and renamed; the
folder is then flushed as well, because it holds the name. Without the flushes, a file system may
keep the rename and lose the content.
"""

import contextlib
import ctypes
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

_MAX_SUFFIX_CHARS = 16
_NOT_SUPPORTED = {errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF}
"""Errors of file systems, such as network mounts, on which a folder cannot be flushed."""


def atomic_write(path: Path, content: str | bytes) -> None:
    """Writes a file such that readers, also after a power failure, see the old content or the new.

    Args:
        path: File to write; its folder must exist. A link to it stays.
        content: New content; text is encoded as UTF-8.

    Raises:
        OSError: The file cannot be written; its old content is kept.
    """
    data = content.encode() if isinstance(content, str) else content
    with atomic_path(path) as partial:
        partial.write_bytes(data)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path for writers that need one, and then replaces a file or folder by it.

    If the body fails, what it wrote is removed. The temporary path has the suffix of the target,
    because some writers add a missing one.

    Args:
        path: Target; its folder must exist. A link to it stays. A folder may not exist yet, or must
            be empty. For paths that a user gave, which may be devices, there is ``write_output``.

    Raises:
        OSError: The target cannot be written; its old content is kept.
    """
    target = Path(os.path.realpath(path))
    suffix = target.suffix if len(target.suffix) <= _MAX_SUFFIX_CHARS else ""
    partial = target.with_name(f".partial-{os.getpid()}-{secrets.token_hex(4)}{suffix}")
    try:
        yield partial
        if target.is_file():
            shutil.copymode(target, partial)
        sync_tree(partial)
        os.replace(partial, target)
    except BaseException:
        remove(partial)
        raise
    sync_folder(target.parent)


def sync_tree(path: Path) -> None:
    """Flushes a file, or all files and folders of a folder, to the disk.

    Args:
        path: File or folder.
    """
    if not path.is_dir():
        _sync(path)
        return
    for parent, _, names in os.walk(path, topdown=False):
        for name in names:
            _sync(Path(parent, name))
        sync_folder(Path(parent))


def sync_folder(folder: Path) -> None:
    """Flushes the names in a folder to the disk, if its file system supports that."""
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise


def sync_filesystem(path: Path) -> None:
    """Flushes everything that any process has written to the file system of a path.

    This takes one commit of the journal; ``sync_tree`` takes one for each file.

    Args:
        path: Existing file or folder.

    Raises:
        OSError: The disk did not take the data.
    """
    sync = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if sync is None:  # Not Linux.
        os.sync()
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if sync(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Removes a file or a folder, if it exists; errors are ignored."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
