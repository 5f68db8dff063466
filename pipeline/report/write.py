"""Writes report pages next to the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.output import write_output
from tfx_feeder.pipeline.metadata.describe import report_stem
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.types import Run
from tfx_feeder.pipeline.report.blocks import Page
from tfx_feeder.pipeline.report.collect import collect
from tfx_feeder.pipeline.report.pages import MAX_RUNS, compare_page, run_page
from tfx_feeder.pipeline.report.render import render

_FOLDER = "reports"
_MAX_NAME_CHARS = 150


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """Written page.

    Args:
        path: File of the page.
        bytes: File size.
        runs: Ids of the runs on the page.
    """

    path: Path
    bytes: int
    runs: tuple[str, ...]


def write_report(
    lineage: Lineage, run: Run, store: str, output: Path | None = None
) -> WrittenReport:
    """Writes the report of a run.

    Args:
        lineage: Lineage of the store.
        run: Run with the artifacts of its executions.
        store: Name of the store as the user gave it.
        output: File to write; ``None``: a file in the folder ``reports`` next to the store.

    Raises:
        ConfigError: The file cannot be written.
    """
    path = output or _default_path(store, [run.id])
    return _write(run_page(collect(lineage, run, store)), path, [run])


def write_comparison(
    lineage: Lineage, runs: Sequence[Run], store: str, output: Path | None = None
) -> WrittenReport:
    """Writes a page that compares several runs.

    Args:
        lineage: Lineage of the store.
        runs: Runs to compare, with the artifacts of their executions.
        store: Name of the store as the user gave it.
        output: File to write; ``None``: a file in the folder ``reports`` next to the store.

    Raises:
        ConfigError: There are too few or too many runs, or the file cannot be written.
    """
    if not 2 <= len({run.id for run in runs}) == len(runs) <= MAX_RUNS:
        raise ConfigError(
            "runs",
            received=", ".join(run.id for run in runs),
            expected=f"2 to {MAX_RUNS} different runs",
        )
    path = output or _default_path(store, [run.id for run in runs])
    return _write(compare_page([collect(lineage, run, store) for run in runs]), path, runs)


def _default_path(store: str, run_ids: Sequence[str]) -> Path:
    name = report_stem(run_ids)[:_MAX_NAME_CHARS] or "run"
    folder = Path(store) if Path(store).is_dir() else Path(store).parent
    return (Path() if "://" in store else folder) / _FOLDER / f"{name}.html"


def _write(page: Page, path: Path, runs: Sequence[Run]) -> WrittenReport:
    size = write_output(path, render(page))
    return WrittenReport(path, size, tuple(run.id for run in runs))
