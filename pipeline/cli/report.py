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
    """Write one HTML file about a run: it opens from disk and needs no network.

    RUN is the id of a run or the beginning of it, `latest` or `previous`.
    """
    found = find_run(lineage, run)
    _say(write_report(lineage, found, context.params["store"], output), as_json)


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
    """Write one HTML file about several runs side by side, with their curves on one axis.

    RUN is the id of a run or the beginning of it, `latest` or `previous`.
    """
    found = [find_run(lineage, run) for run in runs]
    _say(write_comparison(lineage, found, context.params["store"], output), as_json)


def _say(written: WrittenReport, as_json: bool) -> None:
    if as_json:
        print_json(written)
    else:
        show(f"{escape(str(written.path))} ({written.bytes / 1e6:.1f} MB)")
