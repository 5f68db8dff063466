"""Runs the reference pipeline in this process."""

import sys
from pathlib import Path
from typing import Any

import click

from tfx_feeder.components.common.errors import ConfigError
from tfx_feeder.pipeline.launch import Request, launch
from tfx_feeder.pipeline.strategy_options import make_strategy, strategy_options


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--data",
    default="digits",
    show_default=True,
    help="digits, cifar10, fashion_mnist (both need the internet once), or a folder of yours.",
)
@click.option("--span", type=int, help="Span to train on.  [default: the next one]")
@click.option(
    "--schedule",
    help="Phases, as in '0.01:32x10, 0.005:64x10 @200': learning rate, batch size, epochs; "
    "steps per epoch.  [default: a short one]",
)
@click.option("--full", is_flag=True, help="Train by the reference schedule: 30 epochs.")
@strategy_options
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder of everything that is written.",
)
@click.option("--no-cache", is_flag=True, help="Run every component again.")
@click.option("--verbose", is_flag=True, help="Show the log of TFX as well.")
def main(
    data: str,
    span: int | None,
    schedule: str | None,
    full: bool,
    root: Path,
    no_cache: bool,
    verbose: bool,
    **strategy: Any,
) -> None:
    """Trains on images, judges the model against the last blessed one, and pushes it.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 the model was not blessed, 130 interrupted.
    """
    try:
        placed = make_strategy(**strategy)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    request = Request(
        data=data,
        root=root,
        span=span,
        schedule=schedule,
        full=full,
        strategy=placed,
        cache=not no_cache,
        verbose=verbose,
    )
    sys.exit(launch(request))


if __name__ == "__main__":
    main()
