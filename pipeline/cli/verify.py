"""The command ``tfx-feeder verify``."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
from rich.console import RenderableType
from rich.markup import escape

from tfx_feeder.common.hashing import FileDifferences, compare, hash_files
from tfx_feeder.pipeline.cli.console import print_json, show, table
from tfx_feeder.pipeline.cli.options import json_option
from tfx_feeder.pipeline.cli.repair import findings_table
from tfx_feeder.pipeline.deployment.repair import find
from tfx_feeder.pipeline.metadata.env import STORE_VARIABLE
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.schemas import model_card
from tfx_feeder.schemas.model_card import ModelCardDocument


@dataclass(frozen=True, slots=True)
class Verification:
    """Comparison of the folder of a model with its model card.

    Args:
        folder: Folder that was checked.
        whole: If True, all files are as they were pushed.
        differences: Files that differ from the card.
        card: Model card in the folder.
    """

    folder: Path
    whole: bool
    differences: FileDifferences
    card: ModelCardDocument


@click.command()
@click.argument(
    "model_dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="[MODEL_DIR]",
    required=False,
)
@click.option("--all", "everything", is_flag=True, help="Check all files of a store's pipelines.")
@click.option(
    "--store",
    envvar=STORE_VARIABLE,
    default="runs",
    show_default=True,
    show_envvar=True,
    help="ML Metadata store, for --all.",
)
@json_option
@click.pass_context
def verify(
    context: click.Context, model_dir: Path | None, everything: bool, store: str, as_json: bool
) -> None:
    """Compare files with what was written.

    With MODEL_DIR, the folder of a pushed model or a copy is compared with its model card. With
    --all, the outputs of all components and the served models are compared with their records.

    Exit status: 0 no differences; 1 a file was changed, is missing, empty or was added, or there is
    no model card.
    """
    if everything == (model_dir is not None):
        raise click.UsageError("Name either a folder or --all.")
    if model_dir is None:
        findings = find(Lineage.open(store))
        if as_json:
            print_json(findings)
        elif findings:
            show(findings_table(findings), "`tfx-feeder repair` shows what can be done.")
        else:
            show("[green]Unchanged:[/] all files are as they were written")
        context.exit(1 if findings else 0)
    found = verify_folder(model_dir)
    if as_json:
        print_json(found)
    else:
        show(*verification_lines(found))
    context.exit(0 if found.whole else 1)


def verify_folder(folder: Path) -> Verification:
    """Compares the files of a folder with the model card in it.

    Args:
        folder: Folder of a pushed model.

    Raises:
        DataError: There is no model card, or a file cannot be read.
    """
    card = model_card.read(folder)
    differences = compare(card.files, hash_files(folder, exclude=[model_card.FILE_NAME]))
    if others := _not_regular(folder):
        differences = replace(differences, added=(*differences.added, *others))
    return Verification(folder, not differences, differences, card)


def _not_regular(folder: Path) -> list[str]:
    """Returns links to folders, pipes and the like, of which there is no hash."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not path.is_file() and (path.is_symlink() or not path.is_dir())
    )


def verification_lines(found: Verification) -> Iterator[RenderableType]:
    """Yields the result of a verification as lines of markup and a table."""
    card = found.card
    spans = ", ".join(map(str, card.spans))
    yield (
        f"Version {escape(card.pushed_version)} of pipeline {escape(card.pipeline or 'unknown')}, "
        f"written by run {escape(card.run_id or 'unknown')}{f', span {spans}' if spans else ''}"
    )
    yield f"Pushed to {escape(card.destination)}"
    if card.reason:
        yield f"Reason: {escape(card.reason)}"
    if found.whole:
        yield f"[green]Unchanged:[/] all {len(card.files)} files are as they were pushed"
        return
    yield "[red]Changed since the push:[/]"
    drawn = table("", "file", "state")
    for state in ("changed", "missing", "added"):
        for name in getattr(found.differences, state):
            drawn.add_row(escape(name), f"[red]{state}[/]")
    yield drawn
