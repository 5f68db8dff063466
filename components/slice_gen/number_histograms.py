"""Kolmogorov–Smirnov and chi-squared tests of numbers on histograms.

TensorFlow Data Validation stores ten buckets of equal width and ten of equally many values, made
from a sketch. Where both data sets have a boundary at the same place, both distribution functions
are known there. Elsewhere, one is interpolated close to its own quantiles, where the error is small
against chance.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from tfx_feeder.components.slice_gen.category_counts import HomogeneityTest, chi_squared
from tfx_feeder.components.slice_gen.distances import jensen_shannon
from tfx_feeder.components.slice_gen.noise_floors import jensen_shannon_floor
from tfx_feeder.schemas.statistics import Bucket, FeatureStatistics

_SKETCH_EXAMPLES = 100_000
"""Number of examples whose sampling error is as large as the error of the sketch.

The sketch keeps 1,000 quantiles, so that a fraction is off by up to 0.001 however many examples
there are.
"""
_FEW_VALUES = 12
"""Largest number of cells in which integers are counted by value."""


def compare_numbers(
    current: FeatureStatistics, baseline: FeatureStatistics, sizes: tuple[float, float]
) -> HomogeneityTest:
    """Tests whether two histograms are of the same distribution.

    Args:
        current: Statistics of a numeric feature.
        baseline: Statistics of the same feature in the other data set.
        sizes: Numbers of independent values of both.
    """
    n1, n2 = (n / (1 + n / _SKETCH_EXAMPLES) for n in sizes)
    one, other = _Distribution.of(current), _Distribution.of(baseline)
    if one.integer and other.integer:
        shared = _shared_cells(one, other)
        if shared is not None:
            return chi_squared(n1 * shared[0], n2 * shared[1], "chi-squared on the histogram")
    distance = max((one.gap(other, x) for x in one.points(other)), default=0.0)
    # Asymptotic distribution with the correction of Stephens, Journal of the Royal Statistical
    # Society B, 1970.
    root = math.sqrt(n1 * n2 / (n1 + n2))
    p_value = float(stats.kstwobign.sf((root + 0.12 + 0.11 / root) * distance))
    return HomogeneityTest("Kolmogorov–Smirnov on the histogram", p_value)


def range_effect(current: FeatureStatistics, baseline: FeatureStatistics) -> float:
    """Returns the divergence that different bucket boundaries alone cause, in bits.

    Boundaries follow the smallest and the largest value, which differ by chance. Each histogram is
    compared with itself on the boundaries of the other.

    Args:
        current: Statistics of a numeric feature.
        baseline: Statistics of the same feature in the other data set.
    """
    sides = (current, baseline)
    return max(
        jensen_shannon(one.buckets, _Distribution.of(one).rebinned(other.buckets))
        for one, other in zip(sides, sides[::-1], strict=True)
    )


def quantile_divergence(
    current: FeatureStatistics, baseline: FeatureStatistics, sizes: tuple[float, float]
) -> tuple[float, float] | None:
    """Returns the Jensen–Shannon divergence over the quantiles of both sides, and its noise floor.

    Few large values stretch buckets of equal width, until one bucket holds nearly all values.
    Quantiles still tell such distributions apart.

    Args:
        current: Statistics of a numeric feature.
        baseline: Statistics of the same feature in the other data set.
        sizes: Numbers of independent values of both.

    Returns:
        Both in bits; ``None`` if the statistics hold no quantiles of continuous values.
    """
    one, other = _Distribution.of(current), _Distribution.of(baseline)
    if one.integer or other.integer or not (one.quantiles and other.quantiles):
        return None
    edges = sorted(point for point in one.points(other) if point >= max(one.minimum, other.minimum))
    rows = [
        np.diff([0.0, *(d.bounds(point)[0] for point in edges), 1.0]).clip(0) for d in (one, other)
    ]
    cells = [
        [Bucket(float(i), float(i), float(share)) for i, share in enumerate(row)] for row in rows
    ]
    return (
        jensen_shannon(cells[0], cells[1]),
        jensen_shannon_floor(cells[0], cells[1], sizes),
    )


def share_between(feature: FeatureStatistics, low: float, high: float) -> tuple[float, float]:
    """Returns bounds of the fraction of the values from ``low`` to below ``high``.

    Args:
        feature: Statistics of a numeric feature.
        low: Smallest value, or minus infinity.
        high: Value above all of them, or infinity.
    """
    known = _Distribution.of(feature)
    (low_least, low_most), (high_least, high_most) = known.before(low), known.before(high)
    return max(0.0, high_least - low_most), max(0.0, high_most - low_least)


@dataclass(frozen=True, slots=True)
class _Distribution:
    """Distribution function, known at some points.

    Args:
        x: Points, ascending.
        below: Probability of a value up to each point.
        quantiles: Points that are inner quantiles and no frequent value of their own.
        minimum: Smallest value.
        maximum: Largest value.
        zeros: Fraction of values equal to 0.
        integer: True if all values are integers.
    """

    x: np.ndarray
    below: np.ndarray
    quantiles: tuple[float, ...]
    minimum: float
    maximum: float
    zeros: float
    integer: bool

    @classmethod
    def of(cls, feature: FeatureStatistics) -> "_Distribution":
        finite = [b for b in feature.buckets if math.isfinite(b.low) and math.isfinite(b.high)]
        lowest = sum(b.fraction for b in feature.buckets if b.high == -math.inf)
        minimum = finite[0].low if finite else 0.0
        maximum = finite[-1].high if finite else 0.0
        inner = feature.quantiles[1:-1]
        zeros = feature.zeros / feature.counted if feature.counted else 0.0
        # Frequent values span several quantiles: how much of them lies before the next is unknown.
        frequent = {q for q in feature.quantiles if feature.quantiles.count(q) > 1}
        quantiles = tuple(
            q
            for near in zip(feature.quantiles, inner, feature.quantiles[2:], strict=False)
            if minimum < (q := near[1]) < maximum and not frequent & set(near)
        )
        integer = feature.integer or all(
            float(q).is_integer() for q in (minimum, maximum, *feature.quantiles)
        )
        known: dict[float, float] = {}
        edges = [b.high for b in finite]
        total = lowest
        for edge, bucket in zip(edges, finite, strict=True):
            total += bucket.fraction
            known[math.floor(edge) if integer else edge] = total
        if not integer and minimum < maximum:
            known.setdefault(minimum, zeros if minimum == 0 else lowest)
            steps = max(len(feature.quantiles) - 1, 1)
            for position, q in enumerate(inner, 1):
                if q in quantiles:
                    known[q] = position / steps
        x = sorted(known)
        below = np.maximum.accumulate([known[v] for v in x]) if x else np.zeros(0)
        return cls(np.array(x), below, quantiles, minimum, maximum, zeros, integer)

    def rebinned(self, buckets: Sequence[Bucket]) -> list[Bucket]:
        """Returns the histogram of this distribution on other boundaries within its own range."""
        inner = [b.high for b in buckets if self.minimum < b.high < self.maximum]
        edges = [self.minimum, *inner, self.maximum]
        at = [math.floor(edge) if self.integer else edge for edge in edges]
        below = np.interp(at, self.x, self.below) if len(self.x) else np.zeros(len(at))
        below[0], below[-1] = 0.0, 1.0
        return [
            Bucket(low, high, float(share))
            for (low, high), share in zip(itertools.pairwise(edges), np.diff(below), strict=True)
        ]

    def points(self, other: "_Distribution") -> set[float]:
        """Returns where both distribution functions are compared."""
        constants = {d.minimum for d in (self, other) if d.minimum == d.maximum}
        ends = {self.minimum, self.maximum, other.minimum, other.maximum}
        if self.integer and other.integer:
            return {*self.x.tolist(), *other.x.tolist(), *ends, *(c - 1 for c in constants)}
        disjoint = self.minimum > other.maximum or other.minimum > self.maximum
        apart = {min(self.maximum, other.maximum)} if disjoint else set()
        zero = {0.0} if min(self.minimum, other.minimum) >= 0 else set()
        before = {float(np.nextafter(c, -math.inf)) for c in constants}
        return {*self.quantiles, *other.quantiles, *apart, *zero, *constants, *before}

    def gap(self, other: "_Distribution", point: float) -> float:
        """Returns a lower bound of the difference of both distribution functions."""
        (low, high), (other_low, other_high) = self.bounds(point), other.bounds(point)
        return max(0.0, low - other_high, other_low - high)

    def before(self, point: float) -> tuple[float, float]:
        """Returns bounds of the probability of a value below a point."""
        if math.isinf(point):
            return (0.0, 0.0) if point < 0 else (1.0, 1.0)
        last = math.ceil(point) - 1 if self.integer else np.nextafter(point, -math.inf)
        return self.bounds(float(last))

    def bounds(self, point: float) -> tuple[float, float]:
        """Returns bounds of the distribution function at a point."""
        if point < self.minimum or not len(self.x):
            return 0.0, 0.0
        if point >= self.maximum:
            return 1.0, 1.0
        if point == 0 == self.minimum:
            return self.zeros, self.zeros
        if not self.integer:
            value = float(np.interp(point, self.x, self.below))
            return value, value
        # Between integers, the function may jump anywhere.
        before, after = (int(np.searchsorted(self.x, point, side)) for side in ("right", "left"))
        low = self.below[before - 1] if before else 0.0
        high = self.below[after] if after < len(self.x) else 1.0
        return float(low), float(high)


def _shared_cells(one: _Distribution, other: _Distribution) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the frequencies of integers, ``[2, cells]``; ``None`` without a common partition."""
    low, high = min(one.minimum, other.minimum), max(one.maximum, other.maximum)
    if high - low > _FEW_VALUES:
        return None
    points = np.arange(math.floor(low), math.ceil(high) + 1)
    bounds = [[d.bounds(float(point)) for point in points] for d in (one, other)]
    known = [all(a == b for a, b in pair) for pair in zip(*bounds, strict=True)]
    rows = [np.diff([0.0, *(b[0] for b, k in zip(row, known, strict=True) if k)]) for row in bounds]
    return rows[0], rows[1]
