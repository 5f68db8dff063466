"""Distances between two distributions of a feature, as TensorFlow Data Validation defines them.

https://www.tensorflow.org/tfx/data_validation/get_started
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import integrate, special

from tfx_feeder.schemas.statistics import Bucket, FeatureStatistics

JENSEN_SHANNON, L_INFINITY = "Jensen–Shannon", "L-infinity"
_WIDEST, _STEPS = 8.0, 81
"""Range and number of steps of the integral of a floor, in standard deviations."""


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


def jensen_shannon_floor(
    one: Sequence[Bucket], other: Sequence[Bucket], sizes: tuple[float, float]
) -> float:
    """Returns the expected divergence of two samples of the same distribution, in bits.

    Second-order expansion: 8 ln 2 times the divergence is chi-squared distributed, with one degree
    of freedom less than there are buckets, times the variance of a difference in frequency. It is
    the sum over both histograms, whose boundaries may differ. Where their ranges do, the part of a
    sample of n examples beyond the range of another one is 1 / (n' + 1) at each end, of which
    half counts.

    Args:
        one: Buckets of the first histogram.
        other: Buckets of the second histogram.
        sizes: Numbers of examples of both.
    """
    freedom = [sum(1 for b in buckets if b.fraction > 0) - 1 for buckets in (one, other)]
    total = sum(f / n for f, n in zip(freedom, sizes, strict=True) if n)
    ends = (one[0].low != other[0].low) + (one[-1].high != other[-1].high)
    beyond = ends * sum(1 / (n + 1) for n in sizes) / 2
    return min(1.0, total / (8 * math.log(2)) + beyond)


def l_infinity_floor(
    one: Sequence[tuple[str, float]],
    other: Sequence[tuple[str, float]],
    sizes: tuple[float, float],
) -> float:
    """Returns an upper bound of the expected distance of two samples of the same distribution.

    Differences in frequency are nearly normal with variance p (1 - p) (1/n1 + 1/n2). The expected
    largest one is the integral of the probability that any exceeds t, which is largest if they are
    independent (Šidák, Journal of the American Statistical Association, 1967).

    Args:
        one: Pairs of value and frequency in the first data set.
        other: Pairs in the second data set.
        sizes: Numbers of examples of both.
    """
    first, second = dict(one), dict(other)
    n1, n2 = sizes
    if not n1 or not n2:
        return 1.0
    pooled = np.array(
        [
            (n1 * first.get(value, 0.0) + n2 * second.get(value, 0.0)) / (n1 + n2)
            for value in first.keys() | second.keys()
        ]
    )
    deviations = np.sqrt(np.clip(pooled * (1 - pooled), 0, None) * (1 / n1 + 1 / n2))
    deviations = deviations[deviations > 0]
    if not len(deviations):
        return 0.0
    t = np.linspace(0, _WIDEST * deviations.max(), _STEPS)
    exceeds = 1 - np.prod(special.erf(t[:, None] / deviations / math.sqrt(2)), axis=1)
    return float(min(1.0, integrate.trapezoid(exceeds, t)))
