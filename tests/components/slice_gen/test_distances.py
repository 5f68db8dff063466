"""How far two distributions are apart; test_numbers.py sets this against TFDV's own figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_feeder.components.slice_gen.distances import distance, jensen_shannon, l_infinity
from tfx_feeder.schemas.statistics import Bucket, FeatureStatistics

EVEN = [Bucket(0, 1, 0.5), Bucket(1, 2, 0.5)]


def test_equal_distributions_have_no_distance():
    assert jensen_shannon(EVEN, EVEN) == 0
    assert l_infinity([("a", 0.5), ("b", 0.5)], [("b", 0.5), ("a", 0.5)]) == 0


def test_distributions_with_nothing_in_common_are_one_apart():
    assert jensen_shannon(EVEN, [Bucket(5, 6, 1.0)]) == pytest.approx(1)
    assert l_infinity([("a", 1.0)], [("b", 1.0)]) == 1


def test_boundaries_of_buckets_do_not_matter():
    assert jensen_shannon(EVEN, [Bucket(0, 2, 1.0)]) == pytest.approx(0)
    assert jensen_shannon(EVEN, [Bucket(0, 0.5, 0.25), Bucket(0.5, 2, 0.75)]) == pytest.approx(0)


def test_half_of_the_values_moved():
    # By hand: 0.5 * log2(4/3) + 0.25 * log2(2/3) + 0.25 * log2(2).
    assert jensen_shannon(EVEN, [Bucket(0, 1, 1.0)]) == pytest.approx(0.311278, abs=1e-6)


def test_constants_are_points():
    three, four = [Bucket(3, 3, 1.0)], [Bucket(4, 4, 1.0)]
    assert jensen_shannon(three, three) == 0
    assert jensen_shannon(three, four) == pytest.approx(1)


def test_features_that_cannot_be_compared_have_no_distance():
    number = FeatureStatistics("x", "number", 0.0, buckets=tuple(EVEN))
    category = FeatureStatistics("x", "category", 0.0, fractions=(("a", 1.0),))
    assert distance(number, category) is None
    assert distance(number, None) is None
    assert distance(number, number).measure == "Jensen–Shannon"
    assert distance(category, category).measure == "L-infinity"


@st.composite
def histograms(draw):
    bounds = sorted(draw(st.sets(st.integers(-9, 9), min_size=2, max_size=6)))
    weights = draw(st.lists(st.integers(1, 9), min_size=len(bounds) - 1, max_size=len(bounds) - 1))
    return [
        Bucket(low, high, weight / sum(weights))
        for low, high, weight in zip(bounds, bounds[1:], weights, strict=False)
    ]


@given(histograms(), histograms())
def test_distance_is_symmetric_and_between_0_and_1(one, other):
    there, back = jensen_shannon(one, other), jensen_shannon(other, one)
    assert there == pytest.approx(back, abs=1e-9)
    assert 0 <= there <= 1
