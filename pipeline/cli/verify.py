"""Whether a model's folder is what was pushed."""

from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import RenderableType
from rich.markup import escape

from tfx_feeder.components.model_card.hashing import FileDifferences, compare, hash_files
from tfx_feeder.pipeline.cli.console import print_json, show, table
from tfx_feeder.pipeline.cli.options import said_plainly
from tfx_feeder.schemas import model_card
from tfx_feeder.schemas.model_card import ModelCardDocument


@dataclass(frozen=True, slots=True)
class Verification:
    """What became of a pushed model.

    Args:
        folder: Where it is now.
        whole: Whether every file is as it was pushed.
        differences: What is not.
        card: What the model says of itself.
    """

    folder: Path
    whole: bool
    differences: FileDifferences
    card: ModelCardDocument


def check(folder: Path) -> Verification:
    """Compares the files of a folder with the card that lies among them.

    Raises:
        DataError: There is no card, or a file cannot be read.
    """
    card = model_card.read(folder)
    differences = compare(card.files, hash_files(folder, exclude=[model_card.FILE_NAME]))
    return Verification(folder, not differences, differences, card)


def render(found: Verification) -> list[RenderableType]:
    """Returns what was found, for a console."""
    card = found.card
    spans = ", ".join(map(str, card.spans))
    lines: list[RenderableType] = [
        f"Version {escape(card.pushed_version)} of pipeline {escape(card.pipeline or 'unknown')}, "
        f"written by run {escape(card.run_id or 'unknown')}" + (f", span {spans}" if spans else ""),
        f"Pushed to {escape(card.destination)}",
    ]
    if card.reason:
        lines.append(f"Reason: {escape(card.reason)}")
    if found.whole:
        return [*lines, f"[green]Whole:[/] {len(card.files)} files are as they were pushed"]
    differing = table("", "file", "state")
    for state in ("changed", "missing", "added"):
        for name in getattr(found.differences, state):
            differing.add_row(escape(name), f"[red]{state}[/]")
    return [*lines, "[red]Not as pushed:[/]", differing]


@click.command()
@click.argument(
    "model_dir", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="MODEL_DIR"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@click.pass_context
def verify(context: click.Context, model_dir: Path, as_json: bool) -> None:
    """Check a model's folder against the model_card.json in it, wherever it was copied to.

    Exit status: 0 whole; 1 a file was changed, is missing or was added, or there is no card.
    """
    with said_plainly():
        found = check(model_dir)
    if as_json:
        print_json(found)
    else:
        show(*render(found))
    context.exit(0 if found.whole else 1)
