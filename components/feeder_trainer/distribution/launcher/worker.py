"""Entry point of a training process: runs a function, or serves the processes that run it.

``python -m tfx_feeder.components.feeder_trainer.distribution.launcher.worker FOLDER`` reads its
work item from the folder and writes the result there. ``supervisor.py`` starts it.
"""

import dataclasses
import importlib
import os
import pickle
import secrets
import signal
import sys
import threading
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfx_feeder.common.errors import FeederError
from tfx_feeder.common.files import atomic_write
from tfx_feeder.components.feeder_trainer.distribution.cluster import (
    ClusterTask,
    restricted_server,
)
from tfx_feeder.components.feeder_trainer.distribution.launcher.log_forwarding import (
    forward_records,
)

DONE, EXCEPTION, FEEDER_ERROR, PEER_FAILED, PORT_IN_USE = 0, 1, 3, 75, 76
"""Exit status: success; an exception; a pickled ``FeederError``; the failure of another process; a
port that another process occupies."""

AFTER_EXCEPTION = (EXCEPTION, FEEDER_ERROR, PEER_FAILED, PORT_IN_USE)
"""Exit statuses of a process that ended with a Python exception."""

WORK_FILE, RESULT_FILE, ERROR_FILE = "work.pickle", "result.pickle", "error.pickle"

_PEER_ERRORS = ("UnavailableError", "AbortedError", "DeadlineExceededError", "CancelledError")
_PEER_ERRORS += ("PeerLostError", "WorkerLostError")
_PORT_MESSAGES = ("could not start grpc server", "address already in use", "no address added")


@dataclass(frozen=True, slots=True)
class WorkItem:
    """Function call that the processes of a training run execute.

    Args:
        function: Importable function as ``module:name``; called with the argument and the
            ``ClusterTask``.
        argument: Pickled argument; only the processes that run the function unpickle it.
        run_id: Unique identifier; a training process runs an item at most once.
        token: Secret of the processes that run the item; the calls between them carry it.
        has_successor: True if another item may follow this one.
    """

    function: str
    argument: bytes
    run_id: str
    token: str = field(repr=False)
    has_successor: bool = False

    @classmethod
    def from_function(
        cls, function: Callable[..., Any], argument: Any, *, has_successor: bool = False
    ) -> "WorkItem":
        """Returns the work item for a call of an importable function.

        Args:
            function: Function to run.
            argument: First argument of the function; must be picklable.
            has_successor: True if another item may follow.
        """
        name = f"{function.__module__}:{function.__qualname__}"
        token = secrets.token_hex()
        return cls(name, pickle.dumps(argument), uuid.uuid4().hex, token, has_successor)

    def __call__(self, task: ClusterTask | None) -> Any:
        """Runs the function in this process."""
        if task is not None:
            task = dataclasses.replace(task, token=self.token)
        module, _, name = self.function.partition(":")
        return getattr(importlib.import_module(module), name)(pickle.loads(self.argument), task)


def write_pickle(path: Path, value: Any) -> None:
    """Pickles a value to a file atomically.

    Args:
        path: Path of the file.
        value: Picklable value.
    """
    atomic_write(path, pickle.dumps(value))


def serve(task: ClusterTask) -> None:
    """Runs the server of a worker or a parameter server until the process ends."""
    import tensorflow as tf

    with restricted_server(task):
        server = tf.distribute.Server(
            tf.train.ClusterSpec({type_: list(each) for type_, each in task.cluster.items()}),
            job_name=task.type,
            task_index=task.index,
            protocol="grpc",
            # A worker runs a call on one device; on several it would repeat the same batch.
            config=tf.compat.v1.ConfigProto(device_count={"GPU": int(task.type == "worker")}),
            start=True,
        )
    server.join()


def run(item: WorkItem, task: ClusterTask | None, folder: Path) -> int:
    """Runs a work item and writes the chief's result, or an error of any process.

    Args:
        item: Work item to run.
        task: Task of this process.
        folder: Output folder.

    Returns:
        Exit status of the process.
    """
    try:
        value = item(task)
    except Exception as error:
        status = _status_after(error)
        if status == FEEDER_ERROR:
            write_pickle(folder / ERROR_FILE, error)
        return status
    if task is None or task.is_chief:
        write_pickle(folder / RESULT_FILE, value)
    return DONE


def is_server(task: ClusterTask | None) -> bool:
    """Returns True if the task serves a chief instead of running the training loop."""
    return task is not None and task.type != "chief" and "ps" in task.cluster


def main(folder: Path) -> int:
    """Runs the process of the folder's work item and returns the exit status."""
    _exit_with_parent()
    forward_records()
    task = ClusterTask.from_env(os.environ)
    if task is not None and is_server(task):
        try:
            serve(task)
        except Exception as error:
            return _status_after(error)
        return DONE
    item = pickle.loads((folder / WORK_FILE).read_bytes())
    return run(item, task, folder)


def _status_after(error: Exception) -> int:
    traceback.print_exception(error)
    chain: BaseException | None = error
    while chain is not None:
        text = str(chain).lower()
        if any(words in text for words in _PORT_MESSAGES):
            return PORT_IN_USE
        if type(chain).__name__ in _PEER_ERRORS:
            return PEER_FAILED
        chain = chain.__cause__
    return FEEDER_ERROR if isinstance(error, FeederError) else EXCEPTION


def _exit_with_parent() -> None:
    """Exits this process when its parent exits, even if the parent is killed."""

    def wait() -> None:
        sys.stdin.buffer.read()
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)  # Includes the children of this process.
        os._exit(PEER_FAILED)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    # Threads of TensorFlow may outlive the work and block a regular exit.
    try:
        status = main(Path(sys.argv[1]))
    except SystemExit as interrupt:  # A signal was received, and a checkpoint has been saved.
        status = int(interrupt.code or DONE)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
