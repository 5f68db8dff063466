"""Fingerprint of files that are no artifacts, so that a change is no cache hit."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.slice_gen.serving_log import log_files


def fingerprint(paths: Iterable[str]) -> str:
    """Returns a hash of the names, sizes and times of files.

    Args:
        paths: Files and folders. One that is not on this machine counts by its name.
    """
    found = hashlib.sha256()
    for path in paths:
        found.update(path.encode(errors="surrogateescape") + b"\0")
        try:
            files = log_files(Path(path))
        except DataError:
            continue
        for file in files:
            status = file.stat()
            found.update(
                f"{file}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(errors="replace")
            )
    return found.hexdigest()
