"""The option by which commands are given a compiled pipeline."""

from pathlib import Path

import click

ir_option = click.option(
    "--ir",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="What `tfx-feeder compile` wrote.",
)
