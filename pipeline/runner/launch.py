"""Runs a pipeline with logging, console output and an exit status.

Imports neither TensorFlow nor TFX, which keeps the command line responsive and sends TensorFlow's
first messages to the log.
"""

import errno
import importlib
import logging
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TextIO

from rich.console import Console

from tfx_feeder.common.errors import ConfigError, FeederError
from tfx_feeder.common.terminal import SafeConsole
from tfx_feeder.components.feeder_trainer.distribution.options import SingleDevice, Strategy
from tfx_feeder.pipeline.beam import BEAM_ARGS
from tfx_feeder.pipeline.ownership import BusyError
from tfx_feeder.pipeline.run_plan import RunPlan
from tfx_feeder.pipeline.runner import log_file
from tfx_feeder.pipeline.workspace import prepare_root

_PLAIN_WIDTH = 110
"""Minimum width of tables in a file or a pipe, in columns."""
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_ALMOST_NOTHING_BYTES = 1 << 20
DONE, FAILED, USAGE_ERROR, NOT_BLESSED, BUSY, INTERRUPTED = 0, 1, 2, 3, 5, 130


@dataclass(frozen=True, slots=True)
class RunRequest:
    """Settings of a run, as requested by the user.

    Args:
        data: Name of a built-in data set, or path of a folder.
        root: Root folder of the pipeline's output.
        span: Span to train on; ``None`` for the next one.
        schedule: Schedule in a notation of ``parse_schedule``; ``None`` for the short one.
        full: If True, trains with the long schedule of the reference pipeline.
        strategy: Distribution strategy.
        beam_args: Arguments of Beam, as returned by ``beam_args``.
        cache: If True, reuses the outputs of earlier runs.
        verbose: If True, also shows the logs of the libraries.
        plan: Plan of a retraining; its span is passed as ``span``.
        command: Name of the command, for a second process that finds the pipeline busy.
    """

    data: str
    root: Path
    span: int | None = None
    schedule: str | None = None
    full: bool = False
    strategy: Strategy = field(default_factory=SingleDevice)
    beam_args: tuple[str, ...] = BEAM_ARGS
    cache: bool = True
    verbose: bool = False
    plan: RunPlan = field(default_factory=RunPlan)
    command: str = "local_runner.py"


class ComponentError(Exception):
    """Raised when a component failed; the cause is chained.

    Args:
        component: Name of the component.
    """

    def __init__(self, component: str) -> None:
        self.component = component
        super().__init__(component)


def run_with_logging(request: RunRequest, work: str = "tfx_feeder.pipeline.runner.run") -> int:
    """Runs a pipeline, and reports progress and errors on the console.

    Args:
        request: Settings of the run.
        work: Name of the module whose function ``run`` runs the pipeline; imported after the log is
            open.

    Returns:
        Exit status: 0 success, 1 failure, 2 wrong setting, 3 model not blessed, 5 another process
        runs the pipeline, 130 interrupted.
    """
    root = request.root.absolute()
    log = root / "logs" / f"{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.log"
    try:
        prepare_root(root)
        log.parent.mkdir(exist_ok=True)
        log.touch()
    except (FeederError, OSError) as error:
        _echo(SafeConsole(stderr=True), f"Failed: {error}")
        return FAILED
    # All components share this process, and the first would take the whole memory of a GPU.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    with log_file.to_file(log, verbose=request.verbose) as screen:
        console = _console(screen, plain=request.verbose)
        try:
            with interrupted_by_signals():
                with console.status("Loading TensorFlow and TFX"):
                    module = importlib.import_module(work)
                return module.run(request, console, log)
        except BusyError as error:
            _echo(console, f"Refused: {error}")
            return BUSY
        except KeyboardInterrupt:
            _echo(console, "Interrupted. Run the same command again to resume.")
            return INTERRUPTED
        except ConfigError as error:  # Those of a component arrive as ComponentError.
            logging.exception("The run failed.")
            _echo(console, f"Failed: {error}")
            return USAGE_ERROR
        except Exception as error:
            logging.exception("The run failed.")
            reason = _disk_full(root, error) or root_cause(error)
            _echo(console, f"Failed{_where(error)}: {reason}")
            _echo(console, f"Details: {log}")
            return FAILED


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP interrupt a block as Ctrl-C does, which closes what is open.

    The first process of a container ignores both signals by default. A signal that the process
    ignores, as SIGHUP under ``nohup``, stays ignored. Signals can be handled in the main thread
    only; in other threads, nothing changes.
    """
    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                previous[number] = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def root_cause(error: BaseException) -> str:
    """Returns a short description of the root cause of an error.

    If the chain of causes contains a ``FeederError``, whose messages are written for users, its
    message is returned. Otherwise, the type and the first line of the error are returned.
    """
    chain = [link for link in _chain(error) if not isinstance(link, ComponentError)]
    for link in chain:
        if isinstance(link, FeederError):
            return str(link)
    lines = [line for line in str(chain[0]).splitlines() if line.strip()]
    return f"{type(chain[0]).__name__}: {lines[0] if lines else 'no message'}"


def _disk_full(root: Path, error: BaseException) -> str:
    """Returns a message if the disk is full; libraries then raise errors of any kind."""
    free = shutil.disk_usage(root).free
    full = any(isinstance(link, OSError) and link.errno in _NO_SPACE for link in _chain(error))
    if not full and free > _ALMOST_NOTHING_BYTES:
        return ""
    return (
        f"the disk of {root} is full ({free >> 20} MiB free). Free some space, and run the same "
        f"command again. ({root_cause(error)})"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _where(error: BaseException) -> str:
    return f" in {error.component}" if isinstance(error, ComponentError) else ""


def _console(screen: TextIO, *, plain: bool) -> Console:
    console = SafeConsole(file=screen, force_terminal=False if plain else None)
    if not console.is_terminal:
        console.width = max(console.width, _PLAIN_WIDTH)
    return console


def _echo(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
