"""The command ``tfx-feeder slices``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click
from rich.console import RenderableType
from rich.markup import escape

from tfx_feeder.pipeline.cli.console import print_json, show
from tfx_feeder.pipeline.cli.options import store_options
from tfx_feeder.pipeline.metadata.describe import read_model_evaluation
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.lookup import find_model
from tfx_feeder.pipeline.metadata.models import ModelVersion
from tfx_feeder.pipeline.metadata.slice_results import (
    SliceResult,
    gate_report_of,
    slice_results,
    slices_of,
)
from tfx_feeder.pipeline.runner.tables import slices_table
from tfx_feeder.schemas.slices import Evidence


@dataclass(frozen=True, slots=True)
class ModelSlices:
    """Results of a model on all slices.

    Args:
        model_id: Id of the model.
        baseline_id: Id of the model it was compared with, if any.
        blessed: Decision; ``None`` if nothing was decided.
        reason: Reason for the decision of EvalGate; empty if the Evaluator decided.
        slices: Results, those that decided first.
        remarks: Parts of the data or the declaration that SliceGen left out.
    """

    model_id: int
    baseline_id: int | None
    blessed: bool | None
    reason: str
    slices: tuple[SliceResult, ...]
    remarks: tuple[str, ...]


@click.command()
@click.argument("model", metavar="MODEL", default="latest")
@store_options
def slices(lineage: Lineage, as_json: bool, model: str) -> None:
    """List the evaluation slices of a model: both models, their difference, and the verdict.

    The slices that decided come first. MODEL is a model id, a pushed version, the id of the run
    that trained it, latest (the default), blessed or live.
    """
    found = model_slices(lineage, find_model(lineage, model))
    if as_json:
        print_json(found)
    else:
        show(*slice_lines(found))


def model_slices(lineage: Lineage, model: ModelVersion) -> ModelSlices:
    """Reads the results of a model on all slices.

    Args:
        lineage: Lineage of the store.
        model: The model.

    Raises:
        DataError: The model was not evaluated, or its files cannot be read.
    """
    evaluation, report = read_model_evaluation(model), gate_report_of(model)
    document = slices_of(lineage, model)
    return ModelSlices(
        model_id=model.model.id,
        baseline_id=model.baseline_id,
        blessed=model.blessed if evaluation.gated else None,
        reason=report.reason if report else "",
        slices=slice_results(evaluation, report, document),
        remarks=tuple(map(str, document.remarks)) if document else (),
    )


def slice_lines(found: ModelSlices) -> Iterator[RenderableType]:
    """Yields the results as a table and lines of markup."""
    against = f" against model {found.baseline_id}" if found.baseline_id else ""
    yield slices_table(found.slices, f"Slices of model {found.model_id}{against}")
    yield from _evidence_lines(found.slices)
    for remark in found.remarks:
        yield f"[dim]Left out: {escape(remark)}[/]"
    if found.reason:
        yield f"{'Blessed' if found.blessed else 'Not blessed'}: {escape(found.reason)}"


def _evidence_lines(results: Sequence[SliceResult]) -> Iterator[str]:
    """Yields why there are slices that nobody declared."""
    evidence = {r.slice: (r.origin, r.evidence) for r in results if r.evidence}
    for name, (origin, each) in evidence.items():
        if each is not None:
            yield f"{escape(name)}: {origin.replace('_', ' ')}, {escape(_sentence(each))}"


def _sentence(evidence: Evidence) -> str:
    parts = [evidence.measure]
    if evidence.value is not None and evidence.elsewhere is not None:
        parts.append(f" {evidence.value:.4g} against {evidence.elsewhere:.4g} elsewhere")
    if evidence.effect is not None:
        parts.append(f", difference {evidence.effect:+.4g}")
        if evidence.low is not None and evidence.high is not None:
            parts.append(f" (95 % interval {evidence.low:+.4g} to {evidence.high:+.4g})")
    parts.append(f", p = {evidence.p_value:.2g} after {evidence.correction}")
    return "".join(parts)
