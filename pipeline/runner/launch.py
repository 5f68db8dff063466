"""Around a run: its log, its console, and its exit status.

Imports nothing heavy, so that a command line answers at once and TensorFlow's first words go into
the log already.
"""

import importlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TextIO

from rich.console import Console

from tfx_feeder.common.errors import FeederError
from tfx_feeder.components.feeder_trainer.distribution.options import Strategy
from tfx_feeder.pipeline.beam import BEAM_ARGS
from tfx_feeder.pipeline.run_plan import RunPlan
from tfx_feeder.pipeline.runner import log_file
from tfx_feeder.pipeline.workspace import prepare_root

_PLAIN_WIDTH = 110  # Columns; tables in a file or a pipe need not be squeezed.
DONE, FAILED, NOT_BLESSED, INTERRUPTED = 0, 1, 3, 130


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What the user asked for.

    Args:
        data: Name of a built-in data set, or a folder.
        span: Span to train on; ``None``: the next one.
        schedule: In a notation that ``parse_schedule`` reads; ``None``: the short one.
        full: Train by the long schedule of the reference.
        strategy: Where to train.
        root: Folder of everything that is written.
        beam_args: What Beam is told, from ``beam_args``.
        cache: Take over what earlier runs made.
        verbose: Show the log of the libraries as well.
        plan: Beside ``span``, what a retraining is to do, and why.
    """

    data: str
    root: Path
    span: int | None = None
    schedule: str | None = None
    full: bool = False
    strategy: Strategy = field(default_factory=Strategy)
    beam_args: tuple[str, ...] = BEAM_ARGS
    cache: bool = True
    verbose: bool = False
    plan: RunPlan = field(default_factory=RunPlan)


class ComponentError(Exception):
    """A component failed; the cause is chained.

    Args:
        component: Its name.
    """

    def __init__(self, component: str) -> None:
        self.component = component
        super().__init__(component)


def run_with_logging(request: RunRequest, work: str = "tfx_feeder.pipeline.runner.run") -> int:
    """Runs the pipeline and reports on the screen.

    Args:
        request: What the user asked for.
        work: Module whose ``run`` does it; imported once the log is open.

    Returns:
        Exit status: 0 done, 1 failed, 3 the model was not blessed, 130 interrupted.
    """
    root = request.root.absolute()
    log = root / "logs" / f"{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.log"
    try:
        prepare_root(root)
        log.parent.mkdir(exist_ok=True)
    except FeederError as error:
        _say(Console(stderr=True), f"Failed: {error}")
        return FAILED
    with log_file.to_file(log, verbose=request.verbose) as screen:
        console = _console(screen, plain=request.verbose)
        try:
            with console.status("Loading TensorFlow and TFX"):
                module = importlib.import_module(work)
            return module.run(request, console, log)
        except KeyboardInterrupt:
            _say(console, "Interrupted. Run the same command again: it goes on from here.")
            return INTERRUPTED
        except Exception as error:
            logging.exception("The run failed.")
            _say(console, f"Failed{_where(error)}: {root_cause(error)}")
            _say(console, f"Details: {log}")
            return FAILED


def root_cause(error: BaseException) -> str:
    """Returns what went wrong, in as few words as possible.

    An error that the suite raised on purpose says it all; it may be wrapped in others. Of any
    other error the type and the first line are what helps.
    """
    chain = [link for link in _chain(error) if not isinstance(link, ComponentError)]
    for link in chain:
        if isinstance(link, FeederError):
            return str(link)
    lines = [line for line in str(chain[0]).splitlines() if line.strip()]
    return f"{type(chain[0]).__name__}: {lines[0] if lines else 'no message'}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _where(error: BaseException) -> str:
    return f" in {error.component}" if isinstance(error, ComponentError) else ""


def _console(screen: TextIO, *, plain: bool) -> Console:
    console = Console(file=screen, force_terminal=False if plain else None)
    if not console.is_terminal:
        console.width = max(console.width, _PLAIN_WIDTH)
    return console


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
