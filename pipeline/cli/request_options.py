"""The options of a command line that say what the reference pipeline is to do."""

import functools
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import click

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.beam import PROFILES, beam_args
from tfx_feeder.pipeline.cli.strategy_options import make_strategy, strategy_options
from tfx_feeder.pipeline.run_plan import RunPlan, read_decision
from tfx_feeder.pipeline.runner.launch import RunRequest

_OPTIONS = (
    click.option(
        "--data",
        default="digits",
        show_default=True,
        help="digits, cifar10, fashion_mnist (both need the internet once), or a folder of yours.",
    ),
    click.option("--span", type=int, help="Span to train on.  [default: the next one]"),
    click.option(
        "--schedule",
        help="Phases, as in '0.01:32x10, 0.005:64x10 @200': learning rate, batch size, epochs; "
        "steps per epoch.  [default: a short one]",
    ),
    click.option("--full", is_flag=True, help="Train by the reference schedule: 30 epochs."),
    strategy_options,
    click.option(
        "--beam",
        type=click.Choice(list(PROFILES)),
        default="direct",
        show_default=True,
        help="Where the components that use Beam run their work: docs/beam.md.",
    ),
    click.option(
        "--beam-arg",
        "beam_arguments",
        metavar="NAME=VALUE",
        multiple=True,
        help="Further argument for Beam, as in region=europe-west1; repeat.",
    ),
    click.option(
        "--root",
        type=click.Path(path_type=Path),
        default=Path("runs"),
        show_default=True,
        help="Folder of everything that is written.",
    ),
    click.option("--no-cache", is_flag=True, help="Run every component again."),
    click.option(
        "--decision",
        type=click.Path(path_type=Path, dir_okay=False),
        help="What `tfx-feeder retrain --decide --json` printed: span, window, start and reason.",
    ),
)


def request_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a click command, which is called with a ``RunRequest``."""

    @functools.wraps(command)
    def wrapped(
        data: str,
        span: int | None,
        schedule: str | None,
        full: bool,
        beam: str,
        beam_arguments: tuple[str, ...],
        root: Path,
        no_cache: bool,
        decision: Path | None,
        **others: Any,
    ) -> Any:
        of_strategy = {name: others.pop(name) for name in signature(make_strategy).parameters}
        try:
            placed = make_strategy(**of_strategy)
            plan = _plan(span, decision)
            told = beam_args(beam, beam_arguments)
        except ConfigError as error:
            raise click.UsageError(str(error)) from error
        request = RunRequest(
            data=data,
            root=root,
            span=plan.span,
            schedule=schedule,
            full=full,
            strategy=placed,
            beam_args=told,
            cache=not no_cache,
            plan=plan,
        )
        return command(request=request, **others)

    return functools.reduce(lambda decorated, option: option(decorated), _OPTIONS[::-1], wrapped)


def _plan(span: int | None, decision: Path | None) -> RunPlan:
    if decision is None:
        return RunPlan(span=span)
    if span is not None:
        raise ConfigError("span", received=span, expected="none beside --decision, which names it")
    return read_decision(decision)
