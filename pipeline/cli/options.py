"""Options that several commands share."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.options import (
    Auto,
    SingleDevice,
    Strategy,
)
from tfx_feeder.components.feeder_trainer.distribution.strategy_info import STRATEGIES
from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule
from tfx_feeder.pipeline.beam import PROFILES, beam_args
from tfx_feeder.pipeline.metadata.env import STORE_VARIABLE
from tfx_feeder.pipeline.run_plan import RunPlan, read_decision
from tfx_feeder.pipeline.runner.launch import RunRequest

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
newest_option = click.option(
    "-n",
    "--newest",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Number of entries to show.",
)
all_option = click.option("--all", "everything", is_flag=True, help="Show all entries.")
ir_option = click.option(
    "--ir",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Compiled pipeline, as written by `tfx-feeder compile`.",
)


def parsed_options(options: Sequence[Decorator], parse: Callable[..., Mapping[str, Any]]) -> Any:
    """Returns a decorator that adds options to a command and replaces their values.

    Args:
        options: Click options, in the order of the help text.
        parse: Function that turns the values of all ``options``, passed by parameter name, into
            keyword arguments of the command.
    """

    def parameters() -> None:
        """Collects the parameters of the options."""

    for option in options:
        option(parameters)
    names = [parameter.name for parameter in vars(parameters)["__click_params__"]]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def wrapped(**values: Any) -> Any:
            parsed = parse(**{name: values.pop(name) for name in names})
            return command(**parsed, **values)

        for option in reversed(options):
            option(wrapped)
        return wrapped

    return decorate


def truncation_note(shown: int, total: int, noun: str) -> Iterator[str]:
    """Yields a line about entries that are not shown, if there are any.

    Args:
        shown: Number of entries shown.
        total: Number of entries in the store.
        noun: Name of the entries, in the plural.
    """
    if shown < total:
        yield f"The newest {shown:,} of {total:,} {noun}; --all shows all of them."


def _open_lineage(store: str, pipeline: str | None, as_json: bool) -> dict[str, Any]:
    # Imports ML Metadata, which commands without a store do not need.
    module = import_module("tfx_feeder.pipeline.metadata.lineage")
    lineage = module.Lineage.open(store, pipeline)
    known = lineage.pipelines()
    if pipeline is not None and pipeline not in known:
        raise ConfigError(
            "pipeline",
            received=pipeline,
            expected=f"one of {', '.join(known)}" if known else "none: the store has no pipeline",
        )
    return {"lineage": lineage, "as_json": as_json}


store_options = parsed_options(
    (
        click.option(
            "--store",
            envvar=STORE_VARIABLE,
            default="runs",
            show_default=True,
            show_envvar=True,
            help="ML Metadata store: an SQLite file, a folder that contains metadata.sqlite, "
            "mysql://USER@HOST/DATABASE or postgresql://USER@HOST/DATABASE.",
        ),
        click.option("--pipeline", help="Name of a pipeline.  [default: all in the store]"),
        json_option,
    ),
    _open_lineage,
)
"""Adds ``--store``, ``--pipeline`` and ``--json`` to a command.

The command receives ``lineage`` and ``as_json``.
"""


_STRATEGY_OPTION = click.option(
    "--strategy",
    type=click.Choice([*STRATEGIES, Auto.name]),
    help="Distribution strategy; auto selects one by time and cost.  [default: sequential; auto "
    "with --time-to-train or --max-cost]",
)
_SELECTION_OPTIONS = (
    click.option(
        "--cluster",
        metavar="local:N|env",
        help="N workers on this machine, or the cluster that TF_CONFIG describes.",
    ),
    click.option("--time-to-train", metavar="45m", help="Time budget of the training, for auto."),
    click.option("--max-cost", type=float, help="Cost budget of the training, for auto."),
    click.option(
        "--device-cost",
        "costs",
        metavar="NAME=VALUE",
        multiple=True,
        help="Cost per hour of a kind of device (CPU, GPU, TPU) or of a device under a strategy, "
        "as in GPU=2.5, for auto; repeatable.",
    ),
    click.option(
        "--candidate",
        "candidates",
        type=click.Choice(list(STRATEGIES)),
        multiple=True,
        help="Strategy that auto may select; repeatable.  [default: all that can run]",
    ),
    click.option(
        "--lr-scaling",
        type=click.Choice(["none", "linear", "sqrt", "staleness"]),
        default="none",
        show_default=True,
        help="Scaling of the schedule's learning rates with the number of replicas; staleness: "
        "that of parameter_server.",
    ),
)


def _make_strategy(
    *,
    strategy: str | None,
    cluster: str | None,
    time_to_train: str | None,
    max_cost: float | None,
    costs: tuple[str, ...],
    candidates: tuple[str, ...],
    lr_scaling: str,
) -> Strategy:
    has_budget = time_to_train is not None or max_cost is not None
    name = strategy or (Auto.name if has_budget else SingleDevice.name)
    options = {
        "cluster": cluster,
        "time_to_train": time_to_train,
        "max_cost": max_cost,
        "device_cost_per_hour": dict(map(_parse_cost, costs)),
        "candidates": candidates,
        # With a single replica, every rule scales by 1.
        "lr_scaling": "none" if name == SingleDevice.name else lr_scaling,
    }
    given = {option: v for option, v in options.items() if v not in (None, {}, (), "none")}
    return Strategy.from_dict({"name": name, **given})


def _parse_cost(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    try:
        if name and equals:
            return name, float(value)
    except ValueError:
        pass
    raise click.BadParameter(
        f"{text!r}: expected NAME=VALUE, as in GPU=2.5", param_hint="--device-cost"
    )


def _make_auto(**values: Any) -> dict[str, Strategy]:
    return {"strategy": _make_strategy(strategy=Auto.name, **values)}


auto_options = parsed_options(_SELECTION_OPTIONS, _make_auto)
"""Adds the options of the automatic strategy selection to a command.

The command receives ``strategy``, an ``Auto``.
"""


def _make_request(
    data: str,
    span: int | None,
    schedule: str | None,
    full: bool,
    beam: str,
    beam_arguments: tuple[str, ...],
    root: Path,
    no_cache: bool,
    decision: Path | None,
    **strategy: Any,
) -> dict[str, RunRequest]:
    _check_schedule(schedule, full=full)
    plan = _make_plan(span, decision)
    request = RunRequest(
        data=data,
        root=root,
        span=plan.span,
        schedule=schedule,
        full=full,
        strategy=_make_strategy(**strategy),
        beam_args=beam_args(beam, beam_arguments),
        cache=not no_cache,
        plan=plan,
    )
    return {"request": request}


def _check_schedule(schedule: str | None, *, full: bool) -> None:
    """Checks the schedule before TensorFlow is imported."""
    if schedule is None:
        return
    if full:
        raise ConfigError("schedule", received=schedule, expected="either --schedule or --full")
    parse_schedule(schedule)


def _make_plan(span: int | None, decision: Path | None) -> RunPlan:
    if decision is None:
        return RunPlan(span=span)
    if span is not None:
        raise ConfigError(
            "span", received=span, expected="no value with --decision, which sets the span"
        )
    return read_decision(decision)


request_options = parsed_options(
    (
        click.option(
            "--data",
            default="digits",
            show_default=True,
            help="Data set: digits, cifar10 or fashion_mnist (both are downloaded once), or a "
            "folder.",
        ),
        click.option("--span", type=int, help="Span to train on.  [default: the next one]"),
        click.option(
            "--schedule",
            help="Phases of learning rate, batch size and epochs, then steps per epoch, as in "
            "'0.01:32x10, 0.005:64x10 @200'.  [default: a short one]",
        ),
        click.option("--full", is_flag=True, help="Train on the reference schedule of 30 epochs."),
        _STRATEGY_OPTION,
        *_SELECTION_OPTIONS,
        click.option(
            "--beam",
            type=click.Choice(list(PROFILES)),
            default="direct",
            show_default=True,
            help="Beam runner of the components that use Beam: docs/beam.md.",
        ),
        click.option(
            "--beam-arg",
            "beam_arguments",
            metavar="NAME=VALUE",
            multiple=True,
            help="Additional argument of the Beam runner, as in region=europe-west1; repeatable.",
        ),
        click.option(
            "--root",
            type=click.Path(path_type=Path),
            default=Path("runs"),
            show_default=True,
            help="Folder for all outputs.",
        ),
        click.option("--no-cache", is_flag=True, help="Run every component again."),
        click.option(
            "--decision",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Output of `tfx-feeder retrain --decide --json`: span, window, start and reason.",
        ),
    ),
    _make_request,
)
"""Adds the options of a run of the reference pipeline to a command.

The command receives ``request``, a ``RunRequest``.
"""
