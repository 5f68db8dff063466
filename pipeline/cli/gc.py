"""The command ``tfx-feeder gc``."""
# ML Metadata declares no exports.
# pyright: reportPrivateImportUsage=false

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TypeVar

import click
import ml_metadata as mlmd
from rich.console import RenderableType
from rich.filesize import decimal
from rich.markup import escape

from tfx_feeder.common.durations import format_age, parse_duration
from tfx_feeder.pipeline.cli.console import print_json, show, table
from tfx_feeder.pipeline.cli.options import store_options
from tfx_feeder.pipeline.metadata.gc import ArtifactFiles, classify_files, delete_files
from tfx_feeder.pipeline.metadata.leftovers import Leftover, delete_leftovers, find_leftovers
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.store import (
    is_beside_other_store,
    open_store,
    store_folder,
    writable_config,
)
from tfx_feeder.pipeline.ownership import PipelineLock

_Files = ArtifactFiles | Leftover
_AnyFiles = TypeVar("_AnyFiles", ArtifactFiles, Leftover)
_OF_OTHER_STORE = "beside another store, of which this is a copy"


@dataclass(frozen=True, slots=True)
class GcResult:
    """Result of a garbage collection, or of a dry run.

    Args:
        deleted: If True, the files were deleted.
        size_bytes: Total size of ``files`` and ``leftovers``.
        files: Files that were or can be deleted, by artifact.
        kept: Files to keep, by artifact.
        leftovers: Other files that were or can be deleted, such as logs.
        kept_leftovers: Other files to keep.
        failures: Messages about files that could not be deleted.
    """

    deleted: bool
    size_bytes: int
    files: Sequence[ArtifactFiles]
    kept: Sequence[ArtifactFiles]
    leftovers: Sequence[Leftover]
    kept_leftovers: Sequence[Leftover]
    failures: Sequence[str] = ()


def sweep(
    sort: Callable[[], list[ArtifactFiles]],
    find_others: Callable[[Collection[Path]], list[Leftover]],
    store: mlmd.MetadataStore | None = None,
) -> GcResult:
    """Finds files that can be deleted, and deletes them if a store is given.

    Args:
        sort: Function that lists the files of all artifacts, such as ``classify_files``.
        find_others: Function that lists other files below the roots of the artifacts, such as
            ``find_leftovers``.
        store: Store in which deleted artifacts are marked, open for writing; ``None`` for a dry
            run.
    """
    found = sort()
    others = find_others({each.root for each in found})
    files, failures = [each for each in found if not each.keep_reason], []
    leftovers = [each for each in others if not each.keep_reason]
    if store is not None:
        # First what needs no mark in the store, which cannot be written while the disk is full.
        leftovers, failures = delete_leftovers(others)
        files, more_failures = delete_files(store, found, sort)
        failures = [*failures, *more_failures]
    return GcResult(
        deleted=store is not None,
        size_bytes=sum(each.size_bytes for each in (*files, *leftovers)),
        files=files,
        kept=[each for each in found if each.keep_reason],
        leftovers=leftovers,
        kept_leftovers=[each for each in others if each.keep_reason],
        failures=failures,
    )


def draw(found: GcResult) -> Iterator[RenderableType]:
    """Yields a garbage collection as tables and lines of markup."""
    kept = [*found.kept, *found.kept_leftovers]
    going = [*found.files, *found.leftovers]
    if kept:
        yield _table("Kept", "because it is", kept, lambda each: each.keep_reason)
    if going:
        title = "Deleted" if found.deleted else "Can be deleted"
        yield _table(title, "type", going, lambda each: each.type_name)
    roots = {each.root for each in found.files} | {each.path.parent for each in found.leftovers}
    roots = ", ".join(sorted(escape(str(root)) for root in roots))
    if not going:
        yield "Nothing can be deleted." if not found.failures else "Nothing was deleted."
    elif found.deleted:
        yield f"{decimal(found.size_bytes)} deleted in {roots}"
    else:
        yield f"{decimal(found.size_bytes)} can be deleted in {roots}"
        yield "Nothing was deleted. Run the same command with --yes to delete these files."


@click.command("gc")
@click.option(
    "--older-than",
    default="30d",
    show_default=True,
    metavar="AGE",
    help="Minimum time since an execution last read or wrote a file, such as 12h or 30d.",
)
@click.option(
    "--keep-runs",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    metavar="N",
    help="Keep all files of the newest N runs of each pipeline.",
)
@click.option(
    "--keep-versions",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    metavar="N",
    help="Keep the served version of each model and the N versions before it.",
)
@click.option("--yes", is_flag=True, help="Delete the files. Without this option, only list them.")
@store_options
@click.pass_context
def gc(
    context: click.Context,
    lineage: Lineage,
    as_json: bool,
    older_than: str,
    keep_runs: int,
    keep_versions: int,
    yes: bool,
) -> None:
    """List files of old runs that no model needs; with --yes, delete them.

    Kept are the inputs of blessed and pushed models, their evaluations, histories and cards, and
    all files of running runs. Only folders that components wrote are deleted. The artifacts are
    marked as deleted in the store, which keeps later runs from reading them from the cache; their
    records are kept.

    Also collected are old versions of served models, and what no artifact refers to: checkpoints
    of abandoned trainings, unfinished files, step profiles, lists of rejected images, and, without
    --pipeline, logs, reports and temporary folders.
    """
    now = datetime.now(timezone.utc)
    # A longer age than the time since 1970 keeps all files as well.
    age_s = min(parse_duration("--older-than", older_than), now.timestamp())
    since = now - timedelta(seconds=age_s)
    target = context.params["store"]
    folder = store_folder(target)
    store = mlmd.MetadataStore(writable_config(target)) if yes else open_store(target)

    def sort() -> list[ArtifactFiles]:
        found = classify_files(store, lineage.pipeline, untouched_since=since, keep_runs=keep_runs)
        return [_keep_if_foreign(each, each.folder, folder) for each in found]

    def find_others(roots: Collection[Path]) -> list[Leftover]:
        found = find_leftovers(
            lineage,
            roots,
            untouched_since=since,
            keep_newest=keep_runs,
            keep_versions=keep_versions,
        )
        return [_keep_if_foreign(each, each.path, folder) for each in found]

    with ExitStack() as locks:
        if yes and folder is not None:
            for name in [lineage.pipeline] if lineage.pipeline else lineage.pipelines():
                locks.enter_context(PipelineLock(folder, name).hold("tfx-feeder gc"))
        found = sweep(sort, find_others, store if yes else None)
    if as_json:
        print_json(found)
    else:
        show(*draw(found))
    if found.failures:
        raise click.ClickException("\n".join(found.failures))


def _table(
    title: str, column: str, files: Iterable[_Files], key: Callable[[_Files], str]
) -> RenderableType:
    groups: dict[str, list[_Files]] = defaultdict(list)
    for each in files:
        groups[key(each)].append(each)
    drawn = table(title, column, "number", "size", "oldest", right=("number", "size"))
    for name, group in groups.items():
        size = decimal(sum(each.size_bytes for each in group))
        oldest = format_age(min(map(_time, group)))
        drawn.add_row(escape(name), f"{len(group):,}", size, oldest)
    return drawn


def _keep_if_foreign(files: _AnyFiles, path: Path, folder: Path | None) -> _AnyFiles:
    """Adds a reason to keep files of the store from which this one was copied."""
    if files.keep_reason or not is_beside_other_store(path, folder):
        return files
    return replace(files, keep_reason=_OF_OTHER_STORE)


def _time(files: _Files) -> datetime:
    return files.changed_at if isinstance(files, Leftover) else files.created_at
