"""The commands ``report`` and ``compare``."""

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.markup import escape

from tfx_feeder.components.common.errors import ConfigError
from tfx_feeder.pipeline.inspection.options import store_options
from tfx_feeder.pipeline.inspection.output import print_json, show
from tfx_feeder.pipeline.inspection.selecting import find_run
from tfx_feeder.pipeline.lineage import Lineage
from tfx_feeder.pipeline.records import Run
from tfx_feeder.pipeline.report.blocks import Page
from tfx_feeder.pipeline.report.compare_page import MOST_RUNS, compare_page
from tfx_feeder.pipeline.report.gathering import gather
from tfx_feeder.pipeline.report.page import render
from tfx_feeder.pipeline.report.run_page import run_page

_FOLDER = "reports"
_LONGEST_NAME = 150

_output = click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write.  [default: in the folder reports beside the store]",
)


@dataclass(frozen=True, slots=True)
class Written:
    """A page that was written.

    Args:
        path: Of the file.
        bytes: Its size.
        runs: Ids of the runs that it is about.
    """

    path: Path
    bytes: int
    runs: tuple[str, ...]


def write_report(lineage: Lineage, run: Run, store: str, output: Path | None = None) -> Written:
    """Writes the report of a run.

    Args:
        lineage: Of the store.
        run: With the artifacts of its executions.
        store: As the user names it.
        output: File to write; ``None``: one in the folder ``reports`` beside the store.

    Raises:
        ConfigError: The file cannot be written.
    """
    path = output or _beside(store, [run.id])
    return _write(run_page(gather(lineage, run, store)), path, [run])


def write_comparison(
    lineage: Lineage, runs: Sequence[Run], store: str, output: Path | None = None
) -> Written:
    """Writes a page about several runs; see ``write_report``.

    Raises:
        ConfigError: There are too few or too many of them, or the file cannot be written.
    """
    if not 2 <= len({run.id for run in runs}) == len(runs) <= MOST_RUNS:
        raise ConfigError(
            "runs",
            received=", ".join(run.id for run in runs),
            expected=f"2 to {MOST_RUNS} different runs",
        )
    path = output or _beside(store, [run.id for run in runs])
    return _write(compare_page([gather(lineage, run, store) for run in runs]), path, runs)


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


def _say(written: Written, as_json: bool) -> None:
    if as_json:
        print_json(written)
    else:
        show(f"{escape(str(written.path))} ({written.bytes / 1e6:.1f} MB)")


def _beside(store: str, run_ids: Sequence[str]) -> Path:
    """Names the file after the runs, with what file systems and URLs can bear."""
    names = (re.sub(r"[^\w.-]+", "-", run_id, flags=re.ASCII).strip(".-") for run_id in run_ids)
    name = "-and-".join(names)[:_LONGEST_NAME] or "run"
    folder = Path(store) if Path(store).is_dir() else Path(store).parent
    return (Path() if "://" in store else folder) / _FOLDER / f"{name}.html"


def _write(page: Page, path: Path, runs: Sequence[Run]) -> Written:
    """Writes the file, whole or not at all."""
    html = render(page)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            partial = Path(folder) / path.name
            partial.write_text(html, encoding="utf-8")
            os.replace(partial, path)
    except OSError as error:
        raise ConfigError(
            "output",
            received=str(path),
            expected="a file that can be written",
            fix=f"{error.strerror}. Name another with --output.",
        ) from error
    return Written(path, path.stat().st_size, tuple(run.id for run in runs))
