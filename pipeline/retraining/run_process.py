"""A run in a process of its own, so that each begins afresh and the daemon stays small."""

import dataclasses
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess

from tfx_feeder.pipeline.retraining.state import BusyError, StateFile
from tfx_feeder.pipeline.run_plan import RunPlan
from tfx_feeder.pipeline.runner.launch import (
    DONE,
    INTERRUPTED,
    NOT_BLESSED,
    RunRequest,
    run_with_logging,
)

BUSY = 5
"""Exit status of a run that found another one running."""


def start(
    work: Callable[[RunRequest, StateFile], int],
    request: RunRequest,
    plan: RunPlan,
    state: StateFile,
) -> BaseProcess:
    """Starts a run; its exit status is that of ``run_with_logging``, or ``BUSY``.

    Args:
        work: ``train`` or ``collect_statistics``.
        request: What the user asked for.
        plan: What was decided.
        state: Of the pipeline.
    """
    planned = dataclasses.replace(request, span=plan.span, plan=plan)
    # Spawned, for neither TensorFlow nor threads survive a fork.
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(work, planned, state))
    process.start()
    return process


def interrupt(process: BaseProcess) -> None:
    """Presses Ctrl-C, upon which a run closes what it has open."""
    if process.pid is not None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGINT)


def train(request: RunRequest, state: StateFile) -> int:
    """Runs the pipeline, and remembers it until it has got to its end."""
    state.begin(request.plan)
    status = run_with_logging(request)
    if status in (DONE, NOT_BLESSED):
        state.end()
    elif status == INTERRUPTED:
        state.interrupted()
    return status


def collect_statistics(request: RunRequest, state: StateFile) -> int:
    """Runs the pipeline up to the statistics."""
    return run_with_logging(request, work="tfx_feeder.pipeline.retraining.statistics_run")


def _run(
    work: Callable[[RunRequest, StateFile], int], request: RunRequest, state: StateFile
) -> None:
    # Ctrl-C on a terminal goes to its whole group; the daemon alone passes it on, once.
    os.setpgid(0, 0)
    try:
        # The lock is held here, so that it stays when the process that started this one dies.
        with state.alone():
            status = work(request, state)
    except BusyError:
        status = BUSY
    sys.exit(status)
