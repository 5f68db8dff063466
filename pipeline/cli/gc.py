"""``tfx-feeder gc``: shows, and on request deletes, the files that no model needs."""
# ML Metadata declares no exports.
# pyright: reportPrivateImportUsage=false

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial

import click
import ml_metadata as mlmd
from rich.console import RenderableType
from rich.filesize import decimal
from rich.markup import escape

from tfx_feeder.common.durations import format_age, parse_duration
from tfx_feeder.pipeline.cli.console import print_json, show, table
from tfx_feeder.pipeline.cli.options import store_options
from tfx_feeder.pipeline.metadata.gc import ArtifactFiles, sort_files
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.removal import remove
from tfx_feeder.pipeline.metadata.store import open_store, writable


@dataclass(frozen=True, slots=True)
class GcResult:
    """Files that can go, or went.

    Args:
        deleted: Whether they went.
        size_bytes: Of all of them.
        files: Artifact by artifact.
        kept: Those that stay.
        failures: What could not be deleted, in sentences.
    """

    deleted: bool
    size_bytes: int
    files: Sequence[ArtifactFiles]
    kept: Sequence[ArtifactFiles]
    failures: Sequence[str] = ()


def sweep(
    sort: Callable[[], list[ArtifactFiles]], store: mlmd.MetadataStore | None = None
) -> GcResult:
    """Finds the files that can go, and deletes them where a store is given.

    Args:
        sort: Sorts the files, as ``sort_files`` does.
        store: Where deleted artifacts are marked, open for writing; ``None``: delete nothing.
    """
    found = sort()
    files, failures = [each for each in found if not each.kept], []
    if store is not None:
        files, failures = remove(store, found, sort)
    kept = [each for each in found if each.kept]
    size_bytes = sum(each.size_bytes for each in files)
    return GcResult(store is not None, size_bytes, files, kept, failures)


def draw(found: GcResult) -> Iterator[RenderableType]:
    """Yields what can go or went, and what stays, as tables and lines of markup."""
    if found.kept:
        yield _table("Stays", "because it is", found.kept, lambda each: each.kept)
    if found.files:
        title = "Deleted" if found.deleted else "Can go"
        yield _table(title, "type", found.files, lambda each: each.type_name)
    roots = ", ".join(sorted({escape(str(each.root)) for each in found.files}))
    if not found.files:
        yield "Nothing can go." if not found.failures else "Nothing was deleted."
    elif found.deleted:
        yield f"{decimal(found.size_bytes)} were deleted in {roots}"
    else:
        yield f"{decimal(found.size_bytes)} can go in {roots}"
        yield "Nothing was touched. The same command with --yes deletes them."


@click.command("gc")
@click.option(
    "--older-than",
    default="30d",
    show_default=True,
    metavar="AGE",
    help="Only what no execution has read or made for so long, such as 12h or 30d.",
)
@click.option(
    "--keep-runs",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    metavar="N",
    help="Leave the newest N runs of each pipeline whole.",
)
@click.option("--yes", is_flag=True, help="Delete. Without it, nothing is touched.")
@store_options
@click.pass_context
def gc(
    context: click.Context,
    lineage: Lineage,
    as_json: bool,
    older_than: str,
    keep_runs: int,
    yes: bool,
) -> None:
    """Show the files of old runs that no model needs; with --yes, delete them.

    What blessed and pushed models were made of stays, and so do their evaluations, histories and
    cards, and all of runs that are going on. Nothing is touched but the folders that components
    wrote. In the store, the artifacts are marked as deleted, so that no later run takes them from
    the cache; their records stay.
    """
    age_s = parse_duration("--older-than", older_than)
    target = context.params["store"]
    store = mlmd.MetadataStore(writable(target)) if yes else open_store(target)
    sort = partial(
        sort_files,
        store,
        lineage.pipeline,
        untouched_since=datetime.now(timezone.utc) - timedelta(seconds=age_s),
        keep_runs=keep_runs,
    )
    found = sweep(sort, store if yes else None)
    if as_json:
        print_json(found)
    else:
        show(*draw(found))
    if found.failures:
        raise click.ClickException("\n".join(found.failures))


def _table(
    title: str, column: str, files: Iterable[ArtifactFiles], key: Callable[[ArtifactFiles], str]
) -> RenderableType:
    groups: dict[str, list[ArtifactFiles]] = defaultdict(list)
    for each in files:
        groups[key(each)].append(each)
    drawn = table(title, column, "artifacts", "size", "oldest", right=("artifacts", "size"))
    for name, group in groups.items():
        size = decimal(sum(each.size_bytes for each in group))
        oldest = format_age(min(each.created for each in group))
        drawn.add_row(escape(name), f"{len(group):,}", size, oldest)
    return drawn
