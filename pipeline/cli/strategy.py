"""Commands ``tfx-feeder strategy``: list the strategies, and predict their training times."""

import dataclasses
import json
from importlib import import_module
from pathlib import Path

import click
from rich.console import Console

from tfx_feeder.components.feeder_trainer.distribution.options import Strategy
from tfx_feeder.components.feeder_trainer.distribution.strategy_info import STRATEGIES
from tfx_feeder.pipeline.cli.errors import ErrorReportingGroup
from tfx_feeder.pipeline.cli.options import auto_options, json_option
from tfx_feeder.pipeline.runner.quiet_imports import quiet_imports
from tfx_feeder.pipeline.runner.tables import candidates_table, strategies_table

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group(cls=ErrorReportingGroup)
def strategy() -> None:
    """List distribution strategies, and predict their training times."""


@strategy.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List all strategies with behavior, requirements and batch split."""
    if as_json:
        rows = [dataclasses.asdict(info) for info in STRATEGIES.values()]
        click.echo(json.dumps(rows, indent=2))
    else:
        Console(highlight=False).print(strategies_table(STRATEGIES.values()))


@strategy.command("probe")
@click.option(
    "--data",
    default="digits",
    show_default=True,
    help="Data set of the pipeline: digits, cifar10, fashion_mnist or a folder.",
)
@click.option(
    "--schedule", help="Schedule, as in '0.01:32x10 @200'.  [default: that of a short run]"
)
@auto_options
@click.option(
    "--root",
    "--runs-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Output folder of earlier runs; their newest transformed examples are used.",
)
@click.option(
    "--examples",
    type=_FOLDER,
    help="Folder of transformed examples.  [default: the newest below --root]",
)
@click.option(
    "--transform-graph",
    type=_FOLDER,
    help="Folder of the transform graph of --examples.  [default: from the same execution]",
)
@click.option(
    "--model-fn",
    metavar="PATH",
    help="Importable path of the model function.  [default: that of the pipeline]",
)
@json_option
def probe_command(
    data: str,
    schedule: str | None,
    strategy: Strategy,
    root: Path,
    examples: Path | None,
    transform_graph: Path | None,
    model_fn: str | None,
    as_json: bool,
) -> None:
    """Profile a few steps of each strategy and predict the training time, without training.

    Only strategies that could change the selection are profiled. Profiles are cached: the next
    run with the same settings on this machine reuses them.
    """
    quiet_imports("tensorflow")
    probe = import_module("tfx_feeder.pipeline.runner.probe").probe
    choice = probe(
        data=data,
        root=root,
        schedule=schedule,
        strategy=strategy,
        examples=examples,
        transform_graph=transform_graph,
        model_fn=model_fn,
    )
    rows = choice.to_rows()
    if as_json:
        document = {
            "chosen": choice.selected.strategy,
            "warning": choice.warning,
            "candidates": [dataclasses.asdict(row) for row in rows],
        }
        click.echo(json.dumps(document, indent=2))
        return
    console = Console(highlight=False)
    console.print(candidates_table(rows))
    if choice.warning:
        console.print("[yellow]Warning:[/]", choice.warning)
