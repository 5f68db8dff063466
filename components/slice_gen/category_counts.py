"""Chi-squared test of categories, with rare values pooled."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from tfx_feeder.schemas.statistics import FeatureStatistics

_LEAST_EXPECTED = 5.0
"""Smallest expected number of examples in a cell (Cochran, Biometrics, 1954)."""


@dataclass(frozen=True, slots=True)
class HomogeneityTest:
    """Result of a test.

    Args:
        test: Name of the test.
        p_value: Probability of such a difference by chance; ``None`` if nothing could be tested.
    """

    test: str
    p_value: float | None


def compare_categories(
    current: FeatureStatistics, baseline: FeatureStatistics, sizes: tuple[float, float]
) -> HomogeneityTest:
    """Tests whether two samples have the same frequencies of values.

    Lists of the most frequent values are completed by a cell of all others. A value that only one
    list has is among the others, unless the other list is complete.

    Args:
        current: Statistics of a categorical feature.
        baseline: Statistics of the same feature in the other data set.
        sizes: Numbers of independent values of both.
    """
    sides = (current, baseline)
    listed = [listed_fractions(side) for side in sides]
    values = [
        value
        for value in sorted(listed[0].keys() | listed[1].keys())
        if all(value in has or is_complete(s) for has, s in zip(listed, sides, strict=True))
    ]
    rows = []
    for fractions, size in zip(listed, sizes, strict=True):
        row = np.array([fractions.get(value, 0.0) for value in values])
        rows.append(size * np.append(row, max(0.0, 1 - row.sum())))
    return chi_squared(rows[0], rows[1])


def listed_fractions(feature: FeatureStatistics) -> dict[str, float]:
    """Returns the fraction of each listed value among all values."""
    share = feature.counted / feature.values if feature.values and feature.counted else 1.0
    return {value: fraction * min(1.0, share) for value, fraction in feature.fractions}


def is_complete(feature: FeatureStatistics) -> bool:
    """Returns True if the statistics list every value of a category."""
    return feature.unique is None or feature.unique <= len(feature.fractions)


def chi_squared(
    current: ArrayLike, baseline: ArrayLike, name: str = "chi-squared"
) -> HomogeneityTest:
    """Compares counts by the chi-squared test of homogeneity.

    Cells that are expected to hold too few examples of either side are pooled.

    Args:
        current: Counts ``[cells]``.
        baseline: Counts of the other side.
        name: Name of the test.
    """
    table = np.stack([current, baseline]).astype(float)
    sizes = table.sum(axis=1)
    if not sizes.all():
        return HomogeneityTest(name, None)
    expected = table.sum(axis=0) * sizes.min() / sizes.sum()
    order = np.argsort(expected)
    table, expected = table[:, order], expected[order]
    # Pool the rarest cells, until the pool is large enough as well.
    rare = int(np.searchsorted(expected, _LEAST_EXPECTED))
    while rare and rare < len(expected) and expected[:rare].sum() < _LEAST_EXPECTED:
        rare += 1
    if rare:
        table = np.column_stack([table[:, :rare].sum(axis=1), table[:, rare:]])
    if table.shape[1] < 2:
        return HomogeneityTest(name, None)
    share = table.sum(axis=0) / sizes.sum()
    expected = sizes[:, None] * share
    statistic = float(((table - expected) ** 2 / expected).sum())
    return HomogeneityTest(name, float(stats.chi2.sf(statistic, table.shape[1] - 1)))
