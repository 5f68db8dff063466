"""The options of a command line that name a strategy, and the ``Strategy`` that they come to."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from tfx_feeder.components.feeder_trainer.distribution.options import (
    STRATEGIES,
    Auto,
    SingleDevice,
    Strategy,
)

F = TypeVar("F", bound=Callable[..., Any])

_STRATEGY = click.option(
    "--strategy",
    type=click.Choice([*STRATEGIES, Auto.name]),
    help="Where to train; auto chooses by the time to train.  [default: sequential]",
)
_CHOICE = (
    click.option(
        "--cluster", metavar="local:N|env", help="Workers on this machine, or those of TF_CONFIG."
    ),
    click.option("--time-to-train", metavar="45m", help="Time that the training may take; auto."),
    click.option("--max-cost", type=float, help="What the training may cost; auto."),
    click.option(
        "--device-cost",
        "costs",
        metavar="NAME=VALUE",
        multiple=True,
        help="Cost per hour of a device (CPU, GPU, TPU) or under a strategy; auto.",
    ),
    click.option(
        "--candidate",
        "candidates",
        type=click.Choice(list(STRATEGIES)),
        multiple=True,
        help="Strategy that auto may choose; repeat.  [default: all that can run]",
    ),
    click.option(
        "--lr-scaling",
        type=click.Choice(["none", "linear", "sqrt"]),
        default="none",
        show_default=True,
        help="How the schedule's rates grow with the number of replicas.",
    ),
)


def strategy_options(command: F) -> F:
    """Adds the options to a click command, which passes them on to ``make_strategy``."""
    return _STRATEGY(choice_options(command))


def choice_options(command: F) -> F:
    """Adds the same options but for ``--strategy``, to a command that is about ``auto``."""
    for option in reversed(_CHOICE):
        command = option(command)
    return command


def make_strategy(
    *,
    strategy: str | None,
    cluster: str | None,
    time_to_train: str | None,
    max_cost: float | None,
    costs: tuple[str, ...],
    candidates: tuple[str, ...],
    lr_scaling: str,
) -> Strategy:
    """Returns what the options say. A time or a cost without a strategy means ``auto``.

    Raises:
        click.BadParameter: A cost is not NAME=VALUE.
        ConfigError: The options do not go together.
    """
    choosing = time_to_train is not None or max_cost is not None
    name = strategy or (Auto.name if choosing else SingleDevice.name)
    options = {
        "cluster": cluster,
        "time_to_train": time_to_train,
        "max_cost": max_cost,
        "device_cost_per_hour": dict(map(_cost, costs)),
        "candidates": candidates,
        # With a single replica, every rule scales by 1.
        "lr_scaling": "none" if name == SingleDevice.name else lr_scaling,
    }
    given = {option: v for option, v in options.items() if v not in (None, {}, (), "none")}
    return Strategy.from_dict({"name": name, **given})


def _cost(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    try:
        if name and equals:
            return name, float(value)
    except ValueError:
        pass
    raise click.BadParameter(f"{text!r}: expected as in GPU=2.5", param_hint="--device-cost")
