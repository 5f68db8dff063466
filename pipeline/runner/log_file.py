"""Redirects library output to a log file, which leaves the screen to progress output."""

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

_IGNORED_MESSAGES = ("ArtifactQuery.property_predicate is not supported",)


class _Screen(io.FileIO):
    """Screen that may be gone, such as a terminal that was closed; the run goes on without it."""

    def write(self, data: Any, /) -> int:
        """Writes data, or drops it."""
        with suppress(OSError):
            return super().write(data)
        return len(data)


@contextmanager
def to_file(path: Path, *, verbose: bool = False) -> Iterator[TextIO]:
    """Sends standard output, standard error and all logs to a file.

    Redirects the file descriptors, and thus also the output of C++ code.

    Args:
        path: Log file, which is appended to.
        verbose: If True, keeps the file descriptors, and also shows the logs on standard error.

    Yields:
        Stream that writes to the screen, if it exists.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    handlers: list[logging.Handler] = [logging.FileHandler(path, encoding="utf-8")]
    saved = [os.dup(descriptor) for descriptor in (1, 2)]
    screen = io.TextIOWrapper(
        io.BufferedWriter(_Screen(os.dup(1), "wb")), encoding="utf-8", errors="replace"
    )
    if verbose:
        handlers.append(logging.StreamHandler(os.fdopen(os.dup(2), "w")))
    else:
        with path.open("ab") as file:
            for descriptor in (1, 2):
                os.dup2(file.fileno(), descriptor)
    for handler in handlers:
        handler.addFilter(_is_relevant)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    before = root.handlers[:], root.level
    root.handlers[:] = handlers
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield screen
    finally:
        logging.captureWarnings(False)
        root.handlers[:], root.level = before
        for stream in (sys.stdout, sys.stderr, screen):
            stream.flush()
        for descriptor, copy in enumerate(saved, start=1):
            os.dup2(copy, descriptor)
            os.close(copy)
        screen.close()
        for handler in handlers:
            handler.close()


def _is_relevant(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_IGNORED_MESSAGES)
