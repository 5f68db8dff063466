"""Corrections of p-values for the number of tests."""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Adjusts p-values so that the probability of any false rejection is bounded.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics, 1979.

    Args:
        p_values: p-values ``[tests]`` under any dependence.

    Returns:
        Adjusted p-values ``[tests]``, to be compared with the error rate of the family.
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    scaled = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(scaled))
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> np.ndarray:
    """Adjusts p-values so that the expected fraction of false rejections is bounded.

    Benjamini and Hochberg, "Controlling the false discovery rate", Journal of the Royal
    Statistical Society B, 1995.

    Args:
        p_values: p-values ``[tests]``, independent or positively dependent.

    Returns:
        Adjusted p-values ``[tests]``, to be compared with the false discovery rate.
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.minimum.accumulate(scaled[::-1])[::-1])
    return adjusted
