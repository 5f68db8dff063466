"""Slices in which a model is worse than elsewhere, with their evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfx_feeder.components.slice_gen.code_table import (
    CodeTable,
    SearchColumn,
    interval_codes,
    search_columns,
    to_columns,
)
from tfx_feeder.components.slice_gen.encoders import IntervalEncoder
from tfx_feeder.components.slice_gen.options import MEASURES, SliceGenOptions
from tfx_feeder.components.slice_gen.search import FoundSlice, find_weak_slices
from tfx_feeder.schemas.slices import Evidence, Predicate, Remark, SearchSummary


@dataclass(frozen=True, slots=True)
class Proposals:
    """Outcome of the search.

    Args:
        evidence: Evidence by slice, the strongest slice first.
        search: Summary of the search; ``None`` if there was too little to search.
        remarks: Reasons why nothing was searched.
    """

    evidence: Mapping[Predicate, Evidence]
    search: SearchSummary | None = None
    remarks: tuple[Remark, ...] = ()


def propose(
    table: CodeTable,
    columns: Sequence[SearchColumn],
    properties: Mapping[int, IntervalEncoder],
    options: SliceGenOptions,
    *,
    kind: str,
    model: str,
) -> Proposals:
    """Searches a table of codes.

    Args:
        table: Codes, properties and losses of the examples.
        columns: Columns of the codes.
        properties: Encoders of properties that are searched, by their position in the table.
        options: Options of the search.
        kind: Kind of the loss.
        model: Location of the model, for the summary.
    """
    usable = np.isfinite(table.losses)
    losses = table.losses[usable]
    if len(losses) < 2 * options.search.min_examples:
        few = Remark("search", "too few examples with a loss to propose slices", len(losses))
        return Proposals({}, None, (few,))
    codes = [table.codes[usable, position] for position in range(len(columns))]
    all_columns = list(columns)
    for position, encoder in properties.items():
        codes.append(interval_codes(encoder, table.properties[usable, position]))
        all_columns += search_columns(encoder)
    if not codes:
        return Proposals({}, None, (Remark("search", "no feature can be searched"),))
    result = find_weak_slices(to_columns(all_columns), np.stack(codes), losses, options.search)
    measure = MEASURES[kind]
    return Proposals(
        {
            tuple(sorted(found.values)): _evidence(found, measure, result.tested)
            for found in result.slices
        },
        SearchSummary(
            model=model,
            measure=measure,
            mean=result.mean_loss,
            searched=result.searched,
            held_out=len(losses) - result.searched,
            tested=result.tested,
            min_examples=options.search.min_examples,
            margin=options.search.margin,
            error_rate=options.search.error_rate,
        ),
    )


def _evidence(found: FoundSlice, measure: str, tested: tuple[int, ...]) -> Evidence:
    length = len(found.values)
    estimate = found.estimate
    tests = tested[length - 1] * len(tested)
    return Evidence(
        measure=measure,
        effect=estimate.effect if estimate else None,
        low=estimate.low if estimate else None,
        high=estimate.high if estimate else None,
        p_value=found.p_value,
        correction=f"Bonferroni, factor {tests:,}",
        value=estimate.loss if estimate else found.loss,
        elsewhere=estimate.elsewhere if estimate else found.elsewhere,
        examples=estimate.examples if estimate else 0,
    )
