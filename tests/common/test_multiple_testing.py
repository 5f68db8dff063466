"""Corrections for the number of tests, against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_feeder.common.multiple_testing import benjamini_hochberg, holm

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def test_known_values() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert benjamini_hochberg(p).tolist() == pytest.approx([0.02, 0.04, 0.04, 0.02])


def test_no_tests_need_no_correction() -> None:
    assert holm([]).size == benjamini_hochberg([]).size == 0


@given(P_VALUES)
def test_a_correction_never_helps_and_keeps_the_order(p: list[float]) -> None:
    for adjusted in (holm(p), benjamini_hochberg(p)):
        assert (adjusted >= np.array(p) - 1e-12).all()
        assert (adjusted <= 1).all()
        order = np.argsort(p)
        assert (np.diff(adjusted[order]) >= -1e-12).all()
    assert (benjamini_hochberg(p) <= holm(p) + 1e-12).all()


@given(P_VALUES, st.floats(0.001, 0.5))
def test_rejections_are_those_of_the_step_procedures(p: list[float], rate: float) -> None:
    ordered = sorted(p)
    tests = len(p)
    # Holm stops at the first p-value above its bound; Benjamini-Hochberg takes the last below.
    by_holm = 0
    while by_holm < tests and ordered[by_holm] * (tests - by_holm) <= rate:
        by_holm += 1
    below = [k for k in range(1, tests + 1) if ordered[k - 1] * tests / k <= rate]
    assert (holm(p) <= rate).sum() == by_holm
    assert (benjamini_hochberg(p) <= rate).sum() == max(below, default=0)
