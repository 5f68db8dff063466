"""Members of a cluster that an orchestrator keeps: each machine runs one.

The machine of the chief runs the Trainer, which leaves the call for the others in a file that all
of them see; they run ``tfx-feeder worker`` and wait for it.
"""

import os
import pickle
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfx_feeder.components.common.errors import ConfigError, FeederError
from tfx_feeder.components.feeder_trainer.placing import worker
from tfx_feeder.components.feeder_trainer.placing.processes import run_alone
from tfx_feeder.components.feeder_trainer.placing.task import VARIABLE, Task

JOB = "TFX_FEEDER_JOB"
"""Environment variable with the path of the file in which the chief leaves the call."""

_POLL_S = 1.0


def lead(
    function: Callable[[Any, Task | None], Any], argument: Any, task: Task, *, log_dir: str
) -> Any:
    """Tells all members what to run, runs the chief's part, and returns its result.

    Args:
        function: Importable; called with the argument and the task.
        argument: Goes to the members by pickle.
        task: The chief.
        log_dir: Folder of the chief's log.

    Raises:
        ConfigError: This is not the chief, or the path of the file is not set.
        FeederError: See ``processes.run_alone``.
    """
    if not task.is_chief:
        raise ConfigError(
            VARIABLE,
            received=f"{task.type} {task.index}",
            expected="the chief, for a process that runs a pipeline",
            fix="Start `tfx-feeder worker` on the machines of all other tasks.",
        )
    path = job_path(os.environ.get(JOB))
    call = worker.Call.of(function, argument, uuid.uuid4().hex)
    path.parent.mkdir(parents=True, exist_ok=True)
    worker.write(path, call)
    try:
        return run_alone(call, task, log_dir=log_dir)
    finally:
        path.unlink(missing_ok=True)


def follow(task: Task, path: Path, *, timeout_s: float, log_dir: str) -> None:
    """Takes part in the next call that the chief leaves, to its end.

    Args:
        task: The place of this process.
        path: Of the chief's file.
        timeout_s: How long to wait for it, in seconds.
        log_dir: Folder of this member's log.

    Raises:
        FeederError: No call came in time, or it failed.
    """
    call = _next_call(path, timeout_s)
    if not worker.is_server(task):
        run_alone(call, task, log_dir=log_dir)
        return
    # It serves as long as the chief has work.
    threading.Thread(target=worker.serve, args=(task,), daemon=True).start()
    while path.exists():
        time.sleep(_POLL_S)


def job_path(text: str | None) -> Path:
    """Returns the path of the chief's file.

    Raises:
        ConfigError: It is not set.
    """
    if not text:
        raise ConfigError(
            JOB,
            received=text,
            expected="a path in a folder that all machines of the cluster share",
        )
    return Path(text)


def _next_call(path: Path, timeout_s: float) -> worker.Call:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            return pickle.loads(path.read_bytes())
        except FileNotFoundError:
            time.sleep(_POLL_S)
    raise FeederError(
        f"The chief left no work in {path} for {timeout_s:.0f} seconds. Is its Trainer running, "
        f"and is {JOB} the same path on all machines?"
    )
