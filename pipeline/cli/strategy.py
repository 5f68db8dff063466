"""``tfx-feeder strategy``: what strategies there are, and what each would take."""

import dataclasses
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from tfx_feeder.components.feeder_trainer.distribution.options import STRATEGIES, Auto
from tfx_feeder.pipeline.cli.errors import ErrorReportingGroup
from tfx_feeder.pipeline.cli.strategy_options import choice_options, make_strategy
from tfx_feeder.pipeline.runner.quiet_imports import quiet_imports
from tfx_feeder.pipeline.runner.tables import candidates_table, strategies_table

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group(cls=ErrorReportingGroup)
def strategy() -> None:
    """Look at distribution strategies, and at what each would take."""


@strategy.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(as_json: bool) -> None:
    """Show every strategy: what it does, what it needs, how it splits a batch."""
    if as_json:
        rows = [dataclasses.asdict(info) for info in STRATEGIES.values()]
        click.echo(json.dumps(rows, indent=2))
    else:
        Console(highlight=False).print(strategies_table(STRATEGIES.values()))


@strategy.command("probe")
@click.option(
    "--data", default="digits", show_default=True, help="Data of the pipeline, as for a run."
)
@click.option("--schedule", help="As for a run.  [default: its short one]")
@choice_options
@click.option(
    "--root",
    "--runs-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder of earlier runs; the newest examples that Transform made there are used.",
)
@click.option("--examples", type=_FOLDER, help="Transformed examples to use instead.")
@click.option(
    "--transform-graph",
    type=_FOLDER,
    help="The graph that made them.  [default: the one beside them]",
)
@click.option("--model-fn", metavar="PATH", help="Importable path.  [default: the pipeline's]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def probe_command(
    data: str,
    schedule: str | None,
    root: Path,
    examples: Path | None,
    transform_graph: Path | None,
    model_fn: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure a few steps under each strategy and predict the whole schedule; train nothing.

    Strategies that could not change the choice are not measured. What is measured is kept, and
    used again by the next run of the same on this machine.
    """
    wanted = make_strategy(strategy=Auto.name, **options)
    quiet_imports("tensorflow")
    probing = import_module("tfx_feeder.pipeline.runner.probe")
    choice = probing.probe(
        data=data,
        root=root,
        schedule=schedule,
        strategy=wanted,
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
