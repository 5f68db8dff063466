"""A process of a training: it runs one function, or serves those that do.

``python -m tfx_feeder.components.feeder_trainer.placing.worker FOLDER`` reads what to do from the
folder and leaves there what came of it. ``processes.py`` starts it.
"""

import importlib
import logging
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tfx_feeder.components.common.errors import FeederError
from tfx_feeder.components.feeder_trainer.placing.task import Task

DONE, FAILED, REFUSED, LOST = 0, 1, 3, 75
"""Exit status: done; an exception; an error of the suite, pickled; another process went away."""

MESSAGES = "TFX_FEEDER_MESSAGES"
"""Environment variable with the file descriptor to which the chief sends its log records."""

CALL_FILE, RESULT_FILE = "call.pickle", "result.pickle"

_GONE = ("UnavailableError", "AbortedError", "DeadlineExceededError", "CancelledError")
_GONE += ("PeerLostError", "WorkerLostError")
_IN_USE = ("could not start grpc server", "address already in use", "no address added")


@dataclass(frozen=True, slots=True)
class Call:
    """What the processes of a training run.

    Args:
        function: As ``module:name``; called with the argument and the ``Task``.
        argument: Passed to it.
        run_id: No process runs the same call twice.
    """

    function: str
    argument: Any
    run_id: str

    @classmethod
    def of(cls, function: Callable[..., Any], argument: Any, run_id: str) -> "Call":
        """Names a function that can be imported."""
        return cls(f"{function.__module__}:{function.__qualname__}", argument, run_id)

    def __call__(self, task: Task | None) -> Any:
        """Runs it in this process."""
        module, _, name = self.function.partition(":")
        return getattr(importlib.import_module(module), name)(self.argument, task)


def write(path: Path, value: Any) -> None:
    """Pickles a value into a file, whole or not at all."""
    partial = path.with_name(f".{path.name}-{os.getpid()}")
    partial.write_bytes(pickle.dumps(value))
    os.replace(partial, path)


def serve(task: Task) -> None:
    """Serves a chief as a worker or a parameter server, until the process ends."""
    import tensorflow as tf

    server = tf.distribute.Server(
        tf.train.ClusterSpec({kind: list(all_) for kind, all_ in task.cluster.items()}),
        job_name=task.type,
        task_index=task.index,
        protocol="grpc",
        start=True,
    )
    server.join()


def run(call: Call, task: Task | None, result: Path) -> int:
    """Runs a call and writes what came of it, the chief's result or anyone's error.

    Returns:
        Exit status of the process.
    """
    try:
        value = call(task)
    except Exception as error:
        traceback.print_exc()
        if _means_loss(error):
            return LOST
        if isinstance(error, FeederError):
            write(result, error)
            return REFUSED
        return FAILED
    if task is None or task.is_chief:
        write(result, value)
    return DONE


def is_server(task: Task | None) -> bool:
    """Says whether a task serves a chief of its own kind, instead of training by itself."""
    return task is not None and task.type != "chief" and "ps" in task.cluster


def main(folder: Path) -> int:
    """Does what the folder says; returns the exit status."""
    _end_with_parent()
    _forward_records()
    task = Task.from_env(os.environ)
    if task is not None and is_server(task):
        serve(task)
        return DONE
    call = pickle.loads((folder / CALL_FILE).read_bytes())
    return run(call, task, folder / RESULT_FILE)


def _means_loss(error: BaseException) -> bool:
    chain: BaseException | None = error
    while chain is not None:
        text = str(chain).lower()
        if type(chain).__name__ in _GONE or any(words in text for words in _IN_USE):
            return True
        chain = chain.__cause__
    return False


def _end_with_parent() -> None:
    """Ends this process when the one that started it ends, however it ends."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(LOST)

    threading.Thread(target=wait, daemon=True).start()


def _forward_records() -> None:
    descriptor = os.environ.pop(MESSAGES, None)
    if descriptor is None:
        return
    logger = logging.getLogger("tfx_feeder")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(_Forwarder(Connection(int(descriptor), readable=False)))


class _Forwarder(logging.Handler):
    """Sends log records to the parent, which handles them as its own."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        record.exc_info = None
        try:
            self._connection.send(record)
        except (OSError, TypeError, AttributeError, pickle.PicklingError):
            self.handleError(record)


if __name__ == "__main__":
    # TensorFlow's threads may outlive the work and hold the process up.
    status = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
