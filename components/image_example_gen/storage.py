"""Access to local and remote files: regular files only, whatever bytes their names consist of."""

import errno
import os
import re
import stat
from typing import Any

import tensorflow as tf

READ_ERRORS = (OSError, tf.errors.OpError)
_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")


class TooLargeError(ValueError):
    """File that exceeds a limit."""


def is_local(path: str) -> bool:
    """Returns True unless a path is a URI."""
    return _URI.match(path) is None


def is_folder(path: str) -> bool:
    """Returns True if a folder exists."""
    return os.path.isdir(path) if is_local(path) else tf.io.gfile.isdir(path)


def open_file(path: str) -> Any:
    """Opens a regular file for reading bytes.

    Raises:
        OSError: The local file is missing, unreadable, or no regular file.
        tf.errors.OpError: The remote file is missing or unreadable.
    """
    if not is_local(path):
        return tf.io.gfile.GFile(path, "rb")
    if "\0" in path:
        raise FileNotFoundError(errno.ENOENT, "a name cannot contain a null byte")
    # Without O_NONBLOCK, opening a FIFO waits for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: str, most_bytes: int) -> bytes:
    """Reads a whole file.

    Args:
        path: Local or remote file.
        most_bytes: Maximum size.

    Raises:
        TooLargeError: The file is larger.
        OSError: The local file is missing, unreadable, or no regular file.
        tf.errors.OpError: The remote file is missing or unreadable.
    """
    with open_file(path) as file:
        size = size_of_open(file)
        if size > most_bytes:
            raise TooLargeError(f"{size:,} bytes; at most {most_bytes:,} are read")
        return file.read()


def size_of_open(file: Any) -> int:
    """Returns the size of a file that `open_file` returned, in bytes."""
    return file.size() if isinstance(file, tf.io.gfile.GFile) else os.fstat(file.fileno()).st_size


def cause_of(error: BaseException) -> str:
    """Returns the cause of a read error, without the path."""
    if isinstance(error, tf.errors.OpError):
        return error.message
    return (isinstance(error, OSError) and error.strerror) or str(error)


def as_text(name: str) -> str:
    r"""Returns a file name as valid Unicode; a byte that is not UTF-8 becomes ``\xNN``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
