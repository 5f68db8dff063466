"""A process of a training: it runs one function, or serves those that do.

``python -m tfx_feeder.components.feeder_trainer.distribution.launcher.worker FOLDER`` reads its
work item from the folder and leaves the result there. ``supervisor.py`` starts it.
"""

import importlib
import os
import pickle
import signal
import sys
import threading
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx_feeder.common.errors import FeederError
from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.launcher.log_forwarding import (
    forward_records,
)

DONE, FAILED, REFUSED, LOST, IN_USE = 0, 1, 3, 75, 76
"""Exit status: done; an exception; an error of the suite, pickled; another process went away;
another process has this one's port."""

AFTER_EXCEPTION = (FAILED, REFUSED, LOST, IN_USE)
"""Those of a process that ended by an exception of Python."""

CALL_FILE, RESULT_FILE, ERROR_FILE = "call.pickle", "result.pickle", "error.pickle"

_GONE = ("UnavailableError", "AbortedError", "DeadlineExceededError", "CancelledError")
_GONE += ("PeerLostError", "WorkerLostError")
_IN_USE = ("could not start grpc server", "address already in use", "no address added")


@dataclass(frozen=True, slots=True)
class WorkItem:
    """What the processes of a training run.

    Args:
        function: As ``module:name``; called with the argument and the ``ClusterTask``.
        argument: Passed to it; pickled, because only those who run it need what it is made of.
        run_id: No member of a team runs the same call twice.
        more: Another call may follow this one.
    """

    function: str
    argument: bytes
    run_id: str
    more: bool = False

    @classmethod
    def from_function(
        cls, function: Callable[..., Any], argument: Any, *, more: bool = False
    ) -> "WorkItem":
        """Names a function that can be imported."""
        name = f"{function.__module__}:{function.__qualname__}"
        return cls(name, pickle.dumps(argument), uuid.uuid4().hex, more)

    def __call__(self, task: ClusterTask | None) -> Any:
        """Runs it in this process."""
        module, _, name = self.function.partition(":")
        return getattr(importlib.import_module(module), name)(pickle.loads(self.argument), task)


def write(path: Path, value: Any) -> None:
    """Pickles a value into a file, whole or not at all."""
    partial = path.with_name(f".{path.name}-{os.getpid()}")
    partial.write_bytes(pickle.dumps(value))
    os.replace(partial, path)


def serve(task: ClusterTask) -> None:
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


def run(call: WorkItem, task: ClusterTask | None, folder: Path) -> int:
    """Runs a call and writes what came of it, the chief's result or anyone's error.

    Returns:
        Exit status of the process.
    """
    try:
        value = call(task)
    except Exception as error:
        status = _status_after(error)
        if status == REFUSED:
            write(folder / ERROR_FILE, error)
        return status
    if task is None or task.is_chief:
        write(folder / RESULT_FILE, value)
    return DONE


def is_server(task: ClusterTask | None) -> bool:
    """Says whether a task serves a chief of its own kind, instead of training by itself."""
    return task is not None and task.type != "chief" and "ps" in task.cluster


def main(folder: Path) -> int:
    """Does what the folder says; returns the exit status."""
    _end_with_parent()
    forward_records()
    task = ClusterTask.from_env(os.environ)
    if task is not None and is_server(task):
        try:
            serve(task)
        except Exception as error:
            return _status_after(error)
        return DONE
    call = pickle.loads((folder / CALL_FILE).read_bytes())
    return run(call, task, folder)


def _status_after(error: Exception) -> int:
    traceback.print_exception(error)
    chain: BaseException | None = error
    while chain is not None:
        text = str(chain).lower()
        if any(words in text for words in _IN_USE):
            return IN_USE
        if type(chain).__name__ in _GONE:
            return LOST
        chain = chain.__cause__
    return REFUSED if isinstance(error, FeederError) else FAILED


def _end_with_parent() -> None:
    """Ends this process when the one that started it ends, however it ends."""

    def wait() -> None:
        sys.stdin.buffer.read()
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)  # What this process has started as well.
        os._exit(LOST)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    # TensorFlow's threads may outlive the work and hold the process up.
    status = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
