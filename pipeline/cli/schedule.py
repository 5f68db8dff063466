"""``tfx-feeder schedule``: looks at a schedule without training anything."""

import dataclasses
import json

import click
from rich.console import Console

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.schedules.parser import PRESETS, parse_schedule
from tfx_feeder.components.feeder_trainer.schedules.preview import preview


@click.group()
def schedule() -> None:
    """Look at schedules of learning rate and batch size."""


@schedule.command("preview", epilog=f"Presets: {', '.join(PRESETS)}.")
@click.argument("text", metavar="SCHEDULE")
@click.option("--examples", type=click.IntRange(min=1), required=True, help="Training examples.")
@click.option(
    "--steps-per-epoch", type=click.IntRange(min=1), help="Steps in an epoch; else one pass."
)
@click.option(
    "--replicas",
    type=click.IntRange(min=1),
    default=1,
    help="Devices among which a batch is split.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def preview_command(
    text: str, examples: int, steps_per_epoch: int | None, replicas: int, as_json: bool
) -> None:
    """Show the phases of SCHEDULE, and draw learning rate and batch size.

    SCHEDULE is one line such as "0.01:32x10, 0.005:64x10 @200" (learning rate : batch size x
    length), or "on_plateau 0.01:32x30 max=512"; or the path of a YAML or JSON file; or the name of
    a preset.
    """
    try:
        value = parse_schedule(text)
        if steps_per_epoch is not None:
            value = dataclasses.replace(value, steps_per_epoch=steps_per_epoch)
        shown = preview(value, examples, replicas)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(shown.to_dict(), indent=2))
    else:
        Console(highlight=False).print(shown)
