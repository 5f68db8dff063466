"""Forwards the log records of the chief to the process that started it."""

import logging
import os
import pickle
import threading
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection

VARIABLE = "TFX_FEEDER_MESSAGES"
"""Environment variable with the file descriptor to which the chief sends its log records."""

LOGGER = logging.getLogger("tfx_feeder.processes")


class _Forwarder(QueueHandler):
    """Sends log records through a connection, formatted, without their arguments."""

    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue.send(record)  # type: ignore[union-attr]


def forward_records() -> None:
    """Forwards the log records of the suite to the parent process, if it listens."""
    descriptor = os.environ.pop(VARIABLE, None)
    if descriptor is None:
        return
    logger = logging.getLogger("tfx_feeder")
    logger.setLevel(logging.DEBUG)
    connection = Connection(int(descriptor), readable=False)
    logger.addHandler(_Forwarder(connection))  # type: ignore[arg-type]


def listen(descriptor: int) -> threading.Thread:
    """Handles forwarded records as if this process had logged them.

    Args:
        descriptor: File descriptor to read from; closed by the thread.

    Returns:
        The thread, which ends when the sender closes its end.
    """
    connection = Connection(descriptor, writable=False)
    thread = threading.Thread(target=_listen, args=(connection,), daemon=True)
    thread.start()
    return thread


def _listen(connection: Connection) -> None:
    with connection:
        while True:
            try:
                message = connection.recv_bytes()
            except (EOFError, OSError):
                return
            try:
                _handle(pickle.loads(message))
            except Exception:
                # The pipe must be drained in any case, or the chief blocks on writing to it.
                LOGGER.exception("Could not handle a log record of the chief.")


def _handle(record: logging.LogRecord) -> None:
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
