"""Files that a user names with ``-o``: new, existing, linked to, or no files at all."""

import errno
import os
import re
import stat
import sys
from pathlib import Path

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.files import atomic_write

# Names in these folders stand for open files and devices.
_SPECIAL_FOLDERS = ("/dev/", "/proc/")
_STREAM = re.compile(r"/(?:dev|proc/self)/fd/([0-9]{1,9})|/dev/(stdout|stderr)")


def write_output(path: Path, content: str | bytes) -> int:
    """Writes an output to the path that the user gave.

    A regular file is replaced atomically, also if the path is a link to it, which then stays. A
    device or a FIFO is written to, never replaced.

    Args:
        path: File to write; its folder is created if missing.
        content: Content; text is encoded as UTF-8.

    Returns:
        Number of bytes written.

    Raises:
        ConfigError: The path is not writable, is a folder, or is a FIFO that nobody reads.
    """
    try:
        return _write(path, content)
    except OSError as error:
        raise ConfigError(
            "output",
            received=str(path),
            expected="a writable file",
            fix=f"{error.strerror or error}. Choose another file with --output.",
        ) from error


def _write(path: Path, content: str | bytes) -> int:
    data = content.encode() if isinstance(content, str) else content
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    special = str(path.absolute()).startswith(_SPECIAL_FOLDERS)
    if not stat.S_ISREG(mode) or (special and path.exists()):
        _write_into(path, data)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, data)
    return len(data)


def _write_into(path: Path, data: bytes) -> None:
    if stream := _STREAM.fullmatch(str(path.absolute())):
        # Opened anew, a file behind the stream would be written from its beginning.
        sys.stdout.flush()
        descriptor = os.dup(int(stream[1] or ("stdout", "stderr").index(stream[2]) + 1))
    else:
        # Without O_NONBLOCK, opening a FIFO waits for a reader.
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
