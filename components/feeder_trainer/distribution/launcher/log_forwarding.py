"""Log records of the chief, on their way to the process that started it."""

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
    """Sends log records through a connection, as text: their arguments stay here."""

    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue.send(record)  # type: ignore[union-attr]


def forward_records() -> None:
    """Sends the records of this suite to the parent, if it listens."""
    descriptor = os.environ.pop(VARIABLE, None)
    if descriptor is None:
        return
    logger = logging.getLogger("tfx_feeder")
    logger.setLevel(logging.DEBUG)
    connection = Connection(int(descriptor), readable=False)
    logger.addHandler(_Forwarder(connection))  # type: ignore[arg-type]


def listen(descriptor: int) -> threading.Thread:
    """Handles records as if they were made here, in a thread that ends when there are no more.

    Args:
        descriptor: The end to read from; the thread closes it.
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
                # The chief would wait for us forever if nobody read on.
                LOGGER.exception("A log record of the chief is lost.")


def _handle(record: logging.LogRecord) -> None:
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
