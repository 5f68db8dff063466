"""p-values of slices against exact distributions and simulation."""

import numpy as np
import pytest
from scipy import stats

from tfx_feeder.components.slice_gen.tail import LossDistribution, binary_tail


def test_a_random_slice_is_hypergeometric() -> None:
    p = binary_tail(np.array([0, 9, 20]), np.array([50, 50, 50]), (100, 1_000), margin=0.0)
    assert p.tolist() == stats.hypergeom.sf([-1, 8, 19], 1_000, 100, 50).tolist()


def test_a_difference_within_the_margin_is_no_evidence() -> None:
    errors, examples, total = np.array([12_000]), np.array([100_000]), (100_000, 1_000_000)
    assert binary_tail(errors, examples, total, margin=0.0)[0] < 1e-9
    assert binary_tail(errors, examples, total, margin=0.05)[0] == pytest.approx(1.0)


@pytest.mark.parametrize("errors", [15, 20, 30])
def test_the_approximation_for_losses_agrees_with_the_binomial_distribution(errors: int) -> None:
    loss = np.repeat([0.0, 1.0], [9_000, 1_000])
    # For sums of 0 and 1, the approximation is that of the point halfway to the next.
    mean = np.array([(errors - 0.5) / 100])

    approximate = LossDistribution(loss).tail(mean, np.array([100]), margin=0.0)[0]

    assert approximate == pytest.approx(stats.binom.sf(errors - 1, 100, 0.1), rel=0.1)


def test_skewed_losses_give_the_p_value_of_their_own_distribution() -> None:
    loss = np.random.default_rng(0).exponential(size=400_000)
    distribution = LossDistribution(loss)
    # The sum of exponential losses is gamma distributed.
    for mean in (1.2, 1.5, 1.8):
        p = distribution.tail(np.array([mean]), np.array([50]), margin=0.0)[0]
        exact = stats.gamma.sf(50 * mean, 50)
        assert p == pytest.approx(exact, rel=0.25)
        assert distribution.tail(np.array([mean + 1]), np.array([50]), margin=1.0)[
            0
        ] == pytest.approx(p)
    assert distribution.tail(np.array([0.9]), np.array([50]), margin=0.0)[0] == 1.0


def test_equal_losses_differ_from_nothing() -> None:
    equal = LossDistribution(np.full(10, 2.0))
    assert equal.tail(np.array([2.0]), np.array([5]), margin=0.0).tolist() == [1.0]
