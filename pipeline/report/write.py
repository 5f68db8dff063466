"""Writes pages beside the store, whole or not at all."""

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.types import Run
from tfx_feeder.pipeline.report.blocks import Page
from tfx_feeder.pipeline.report.collect import collect
from tfx_feeder.pipeline.report.pages import MOST_RUNS, compare_page, run_page
from tfx_feeder.pipeline.report.render import render

_FOLDER = "reports"
_LONGEST_NAME = 150


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """A page that was written.

    Args:
        path: Of the file.
        bytes: Its size.
        runs: Ids of the runs that it is about.
    """

    path: Path
    bytes: int
    runs: tuple[str, ...]


def write_report(
    lineage: Lineage, run: Run, store: str, output: Path | None = None
) -> WrittenReport:
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
    return _write(run_page(collect(lineage, run, store)), path, [run])


def write_comparison(
    lineage: Lineage, runs: Sequence[Run], store: str, output: Path | None = None
) -> WrittenReport:
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
    return _write(compare_page([collect(lineage, run, store) for run in runs]), path, runs)


def _beside(store: str, run_ids: Sequence[str]) -> Path:
    """Names the file after the runs, with what file systems and URLs can bear."""
    names = (re.sub(r"[^\w.-]+", "-", run_id, flags=re.ASCII).strip(".-") for run_id in run_ids)
    name = "-and-".join(names)[:_LONGEST_NAME] or "run"
    folder = Path(store) if Path(store).is_dir() else Path(store).parent
    return (Path() if "://" in store else folder) / _FOLDER / f"{name}.html"


def _write(page: Page, path: Path, runs: Sequence[Run]) -> WrittenReport:
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
    return WrittenReport(path, path.stat().st_size, tuple(run.id for run in runs))
