"""Distances between two distributions of a feature, as TensorFlow Data Validation defines them.

https://www.tensorflow.org/tfx/data_validation/get_started
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tfx_feeder.schemas.statistics import Bucket, FeatureStatistics

JENSEN_SHANNON, L_INFINITY = "Jensen–Shannon", "L-infinity"


@dataclass(frozen=True, slots=True)
class Distance:
    """Distance between two distributions.

    Args:
        measure: Jensen–Shannon divergence in bits for numeric features; L-infinity distance, the
            largest difference in the frequency of a value, for categorical features.
        value: 0 for equal distributions, 1 for disjoint ones.
    """

    measure: str
    value: float


def distance(one: FeatureStatistics | None, other: FeatureStatistics | None) -> Distance | None:
    """Returns the distance of a feature between two data sets; ``None`` if it is undefined.

    Args:
        one: Statistics of the feature in the first data set; ``None`` if it lacks the feature.
        other: Statistics in the second data set.
    """
    if one is None or other is None:
        return None
    if one.fractions and other.fractions:
        return Distance(L_INFINITY, l_infinity(one.fractions, other.fractions))
    if one.buckets and other.buckets:
        return Distance(JENSEN_SHANNON, jensen_shannon(one.buckets, other.buckets))
    return None


def l_infinity(one: Sequence[tuple[str, float]], other: Sequence[tuple[str, float]]) -> float:
    """Returns the largest difference in the frequency of a value.

    Args:
        one: Pairs of value and frequency in the first data set.
        other: Pairs in the second data set.
    """
    first, second = dict(one), dict(other)
    return max(abs(first.get(v, 0.0) - second.get(v, 0.0)) for v in first.keys() | second.keys())


def jensen_shannon(one: Sequence[Bucket], other: Sequence[Bucket]) -> float:
    """Returns the Jensen–Shannon divergence of two histograms, in bits.

    Assumes a uniform distribution within each bucket. The bucket boundaries may differ.

    Args:
        one: Buckets of the first histogram.
        other: Buckets of the second histogram.
    """
    bounds = sorted({bound for b in (*one, *other) for bound in (b.low, b.high)})
    # Points come first: a bucket may have zero width.
    cells = [(bound, bound) for bound in bounds] + list(itertools.pairwise(bounds))
    first, second = ([_mass(buckets, *cell) for cell in cells] for buckets in (one, other))
    middle = [(p + q) / 2 for p, q in zip(first, second, strict=True)]
    divergence = (_kullback_leibler(first, middle) + _kullback_leibler(second, middle)) / 2
    return min(1.0, max(0.0, divergence))


def _mass(buckets: Sequence[Bucket], low: float, high: float) -> float:
    """Fraction of the values in a cell that lies within each bucket it overlaps."""
    if low == high:
        return sum(b.fraction for b in buckets if b.low == b.high == low)
    return sum(
        b.fraction * (high - low) / (b.high - b.low)
        for b in buckets
        if b.low <= low and high <= b.high
    )


def _kullback_leibler(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(p * math.log2(p / q) for p, q in zip(one, other, strict=True) if p > 0)
