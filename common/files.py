"""Atomic writes of files."""

import os
from pathlib import Path


def atomic_write(path: Path, content: str | bytes, *, sync: bool = False) -> None:
    """Writes a file such that readers see the old content or the new, never a part of it.

    Args:
        path: File to write; its folder must exist.
        content: New content; text is encoded as UTF-8.
        sync: If True, the content is on the disk before the file is replaced, so that it also
            survives a power failure.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
