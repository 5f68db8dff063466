"""The commands ``report`` and ``compare``."""

from pathlib import Path

import click
from rich.markup import escape

from tfx_feeder.pipeline.cli.console import print_json, show
from tfx_feeder.pipeline.cli.options import store_options
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.lookup import find_run
from tfx_feeder.pipeline.report.write import WrittenReport, write_comparison, write_report

_output = click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write.  [default: in the folder reports beside the store]",
)


@click.command()
@click.argument("run", default="latest")
@_output
@store_options
@click.pass_context
def report(
    context: click.Context, lineage: Lineage, as_json: bool, run: str, output: Path | None
) -> None:
    """Write an HTML report about a run; the file opens without a server or a network.

    RUN is a run id or the beginning of one, latest or previous.
    """
    found = find_run(lineage, run)
    _echo(write_report(lineage, found, context.params["store"], output), as_json)


@click.command()
@click.argument("runs", metavar="RUN RUN...", nargs=-1, required=True)
@_output
@store_options
@click.pass_context
def compare(
    context: click.Context,
    lineage: Lineage,
    as_json: bool,
    runs: tuple[str, ...],
    output: Path | None,
) -> None:
    """Write an HTML report that compares several runs, with their curves on shared axes.

    RUN is a run id or the beginning of one, latest or previous.
    """
    found = [find_run(lineage, run) for run in runs]
    _echo(write_comparison(lineage, found, context.params["store"], output), as_json)


def _echo(written: WrittenReport, as_json: bool) -> None:
    if as_json:
        print_json(written)
    else:
        show(f"{escape(str(written.path))} ({written.bytes / 1e6:.1f} MB)")
