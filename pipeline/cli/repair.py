"""The command ``tfx-feeder repair``."""
# ML Metadata declares no exports.
# pyright: reportPrivateImportUsage=false

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click
import ml_metadata as mlmd
from rich.console import RenderableType
from rich.markup import escape

from tfx_feeder.pipeline.cli.console import print_json, show, table
from tfx_feeder.pipeline.cli.options import store_options
from tfx_feeder.pipeline.deployment.repair import REMEDIES, Finding, find
from tfx_feeder.pipeline.deployment.repair import repair as apply
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.store import (
    is_beside_other_store,
    store_folder,
    writable_config,
)
from tfx_feeder.pipeline.ownership import PipelineLock

_OF_OTHER_STORE = "it is beside another store, of which this is a copy"


@dataclass(frozen=True, slots=True)
class RepairResult:
    """Result of a repair, or of a dry run.

    Args:
        repaired: If True, the remedies were applied.
        findings: Damage that was found.
        failures: Messages about what could not be repaired.
    """

    repaired: bool
    findings: Sequence[Finding]
    failures: Sequence[str] = ()


@click.command()
@click.option("--yes", is_flag=True, help="Repair. Without this option, only list the damage.")
@store_options
@click.pass_context
def repair(context: click.Context, lineage: Lineage, as_json: bool, yes: bool) -> None:
    """Find damaged files of a root; with --yes, repair the root.

    For use after a power failure, a full disk or an error of the disk. Damaged artifacts are marked
    as deleted in the store, so that neither the cache nor a comparison uses them; the next run
    makes them again. Damaged served versions are restored from the model that was pushed or, if
    that is damaged as well, renamed, so that the next lower version is served.
    """
    target = context.params["store"]
    folder, failures = store_folder(target), []
    with ExitStack() as locks:
        if yes and folder is not None:
            for name in [lineage.pipeline] if lineage.pipeline else lineage.pipelines():
                locks.enter_context(PipelineLock(folder, name).hold("tfx-feeder repair"))
        findings = find(lineage)
        if yes and findings:
            foreign = [f for f in findings if _is_foreign(f, folder)]
            findings = [f for f in findings if f not in foreign]
            failures = apply(findings, mlmd.MetadataStore(writable_config(target)))
            failures += [f"{f.subject} was not repaired: {_OF_OTHER_STORE}." for f in foreign]
    result = RepairResult(yes, findings, failures)
    if as_json:
        print_json(result)
    else:
        show(*repair_lines(result))
    if failures:
        raise click.ClickException("\n".join(failures))


def _is_foreign(finding: Finding, folder: Path | None) -> bool:
    """Returns True if a remedy would change files of the store from which this one was copied."""
    return finding.remedy != "forget" and is_beside_other_store(finding.path, folder)


def findings_table(findings: Sequence[Finding]) -> RenderableType:
    """Returns a table of what is damaged."""
    drawn = table("Damaged", "what", "reason")
    for finding in findings:
        drawn.add_row(escape(finding.subject), escape(finding.reason))
    return drawn


def repair_lines(result: RepairResult) -> Iterator[RenderableType]:
    """Yields a repair as a table and lines of markup."""
    if not result.findings:
        yield "[green]Nothing is damaged.[/] If a run fails, its last lines say why."
        return
    yield findings_table(result.findings)
    for remedy, text in REMEDIES.items():
        subjects = [f.subject for f in result.findings if f.remedy == remedy]
        if subjects:
            did = "Done" if result.repaired else "With --yes"
            yield f"{did}: {text}: {escape(', '.join(subjects))}"
    if result.repaired:
        yield "Run the pipeline again: it makes what is missing."
    else:
        yield "Nothing was changed. Run the same command with --yes to repair."
