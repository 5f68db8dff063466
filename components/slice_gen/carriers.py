"""Slices that carry a difference between two data sets: values more frequent than before."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from tfx_feeder.common.multiple_testing import benjamini_hochberg
from tfx_feeder.components.slice_gen.category_counts import (
    chi_squared,
    is_complete,
    listed_fractions,
)
from tfx_feeder.components.slice_gen.distances import L_INFINITY
from tfx_feeder.components.slice_gen.encoders import Encoder, IntervalEncoder, ValueEncoder
from tfx_feeder.components.slice_gen.number_histograms import share_between
from tfx_feeder.schemas.drift_report import DRIFT, DriftReport
from tfx_feeder.schemas.slices import Evidence, Predicate
from tfx_feeder.schemas.statistics import FeatureStatistics, SplitStatistics

MEASURE = "share of the examples"
_MOST = 3
"""Largest number of slices of a feature."""
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class _Cell:
    """Value that is more frequent than in the baseline, or interval of such values."""

    predicate: Predicate
    shares: tuple[float, float]
    sizes: tuple[float, float]
    p_value: float


def carriers(
    report: DriftReport,
    current: SplitStatistics,
    baseline: SplitStatistics,
    encoders: Mapping[str, Encoder],
) -> dict[Predicate, Evidence]:
    """Returns the slices whose share of the examples grew, the largest growth of a feature first.

    Each value of a drifted feature is tested, and the p-values are corrected for all of them
    (Benjamini–Hochberg at the error rate of the report). Growth below the threshold of the feature
    does not count, unless the value is new. Values that became rarer are in the report only, as few
    examples have them.

    Args:
        report: Verdict on each feature.
        current: Statistics of the current data.
        baseline: Statistics of the data compared with.
        encoders: Encoders by feature; a feature without one is left out.
    """
    cells, thresholds = [], {}
    for row in report.features:
        sides = current.feature(row.feature), baseline.feature(row.feature)
        encoder = encoders.get(row.feature)
        if row.verdict != DRIFT or encoder is None or sides[0] is None or sides[1] is None:
            continue
        if row.feature not in thresholds:
            sizes = current.examples, baseline.examples
            cells += _cells(encoder, (sides[0], sides[1]), sizes)
        # A threshold in bits says nothing about a share.
        threshold = (row.threshold or 0.0) if row.measure == L_INFINITY else 0.0
        thresholds[row.feature] = min(threshold, thresholds.get(row.feature, threshold))
    adjusted = benjamini_hochberg([cell.p_value for cell in cells])
    found: dict[str, list[tuple[float, _Cell]]] = {}
    for cell, p_value in zip(cells, adjusted, strict=True):
        (name, _), *_ = cell.predicate
        grown = cell.shares[0] - cell.shares[1]
        is_new = not cell.shares[1]
        if p_value < report.error_rate and (is_new or grown > thresholds[name]):
            found.setdefault(name, []).append((float(p_value), cell))
    correction = f"Benjamini–Hochberg over {len(cells)} values"
    return {
        cell.predicate: _evidence(cell, p_value, correction)
        for of_feature in found.values()
        for p_value, cell in sorted(
            of_feature, key=lambda pair: pair[1].shares[1] - pair[1].shares[0]
        )[:_MOST]
    }


def _cells(
    encoder: Encoder,
    sides: tuple[FeatureStatistics, FeatureStatistics],
    examples: tuple[int, int],
) -> Iterator[_Cell]:
    """Yields the values whose share grew, with the smallest growth that the statistics allow."""
    present = [side.present for side in sides]
    for value, (now, before) in _shares(encoder, sides):
        sizes = float(present[0]), float(present[1])
        yield from _tested(encoder.name, value, (now, before), sizes)
    missing = [1 - n / total if total else 0.0 for n, total in zip(present, examples, strict=True)]
    sizes = float(examples[0]), float(examples[1])
    yield from _tested(encoder.name, encoder.values[-1], (missing[0], missing[1]), sizes)


def _tested(
    name: str, value: str, shares: tuple[float, float], sizes: tuple[float, float]
) -> Iterator[_Cell]:
    if shares[0] <= shares[1] or not all(sizes):
        return
    now, before = (
        (size * share, size * (1 - share)) for share, size in zip(shares, sizes, strict=True)
    )
    p_value = chi_squared(now, before).p_value
    if p_value is None:
        # Few examples: exact.
        table = [[round(count) for count in row] for row in (now, before)]
        p_value = float(np.asarray(stats.fisher_exact(table))[1])
    yield _Cell(((name, value),), shares, sizes, p_value)


def _shares(
    encoder: Encoder, sides: tuple[FeatureStatistics, FeatureStatistics]
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yields each value with its smallest share now, and its largest one before."""
    now, before = sides
    if now.kind == before.kind == "category":
        listed = listed_fractions(now), listed_fractions(before)
        # Values that are not listed are at most as frequent as the last one that is.
        most = 0.0 if is_complete(before) else min(listed[1].values(), default=0.0)
        for value in encoder.values[:-1]:
            label = "" if value == "''" else value
            if label in listed[0]:
                yield value, (listed[0][label], listed[1].get(label, most))
    elif now.kind == before.kind == "number":
        for value, (low, high) in _ranges(encoder):
            yield value, (share_between(now, low, high)[0], share_between(before, low, high)[1])


def _ranges(encoder: Encoder) -> Iterator[tuple[str, tuple[float, float]]]:
    if isinstance(encoder, IntervalEncoder):
        edges = (-math.inf, *encoder.bounds, math.inf)
        yield from zip(encoder.values, itertools.pairwise(edges), strict=False)
    elif isinstance(encoder, ValueEncoder):
        for number, value in encoder.lookup.items():
            if not isinstance(number, bytes):
                yield value, (number, number + 1)


def _evidence(cell: _Cell, p_value: float, correction: str) -> Evidence:
    now, before = cell.shares
    # Newcombe, "Interval estimation for the difference between independent proportions",
    # Statistics in Medicine, 1998, method 10.
    (low_1, high_1), (low_2, high_2) = (
        _wilson(share, size) for share, size in zip(cell.shares, cell.sizes, strict=True)
    )
    effect = now - before
    return Evidence(
        measure=MEASURE,
        effect=effect,
        low=effect - math.hypot(now - low_1, high_2 - before),
        high=effect + math.hypot(high_1 - now, before - low_2),
        p_value=p_value,
        correction=correction,
        value=now,
        elsewhere=before,
        examples=round(now * cell.sizes[0]),
    )


def _wilson(share: float, size: float) -> tuple[float, float]:
    z = float(stats.norm.ppf((1 + _CONFIDENCE) / 2))
    center = (share + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * math.sqrt(share * (1 - share) / size + (z / (2 * size)) ** 2)
    return center - half, center + half
