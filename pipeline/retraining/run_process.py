"""Runs in separate processes, which start with fresh state and keep the daemon small."""

import dataclasses
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess

from tfx_feeder.pipeline.ownership import BusyError
from tfx_feeder.pipeline.retraining.state import StateFile
from tfx_feeder.pipeline.run_plan import RunPlan
from tfx_feeder.pipeline.runner.launch import (
    BUSY,
    DONE,
    FAILED,
    INTERRUPTED,
    NOT_BLESSED,
    RunRequest,
    run_with_logging,
)


def start(
    work: Callable[[RunRequest, StateFile], int],
    request: RunRequest,
    plan: RunPlan,
    state: StateFile,
) -> BaseProcess:
    """Starts a run; its exit status is that of ``run_with_logging``.

    Args:
        work: ``train`` or ``collect_statistics``.
        request: Settings of the run.
        plan: Plan of the run.
        state: State file of the pipeline.
    """
    planned = dataclasses.replace(request, span=plan.span, plan=plan)
    # Spawn, because neither TensorFlow nor threads survive a fork.
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(work, planned, state))
    process.start()
    return process


def interrupt(process: BaseProcess) -> None:
    """Sends SIGINT so that the run can shut down cleanly."""
    if process.pid is not None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGINT)


def train(request: RunRequest, state: StateFile) -> int:
    """Runs the pipeline, and records it as pending until it has finished.

    Args:
        request: Settings of the run, with its plan.
        state: State file of the pipeline.
    """
    state.begin(request.plan)
    status = run_with_logging(request)
    if status in (DONE, NOT_BLESSED):
        state.finish()
    elif status == INTERRUPTED:
        state.mark_interrupted()
    return status


def collect_statistics(request: RunRequest, state: StateFile) -> int:
    """Runs the pipeline up to the statistics.

    Args:
        request: Settings of the run.
        state: Ignored; statistics runs are not recorded.
    """
    return run_with_logging(request, work="tfx_feeder.pipeline.retraining.statistics_run")


def _run(
    work: Callable[[RunRequest, StateFile], int], request: RunRequest, state: StateFile
) -> None:
    # Ctrl-C in a terminal reaches the whole process group; only the daemon should forward it.
    os.setpgid(0, 0)
    try:
        # This process holds the lock, so that the lock outlives the parent process.
        with state.lock.hold(request.command):
            status = work(request, state)
    except BusyError:
        status = BUSY
    except OSError as error:  # The state cannot be written.
        print(f"Failed: {error}", file=sys.stderr)
        status = FAILED
    sys.exit(status)
