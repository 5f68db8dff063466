"""Distances that chance alone makes one expect between samples of the same distribution."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import integrate, special

from tfx_feeder.schemas.statistics import Bucket

_WIDEST, _STEPS = 8.0, 81
"""Range and number of steps of the integral of a floor, in standard deviations."""


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
