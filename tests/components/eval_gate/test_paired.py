"""Paired comparisons against published values, brute force and simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.eval_gate.paired import PairedAnswers, PairedMeans


def _score(answers: PairedAnswers, difference: float) -> float:
    """Score statistic with the likelihood maximized by search instead of a formula."""
    won, lost, n = answers.candidate_only, answers.baseline_only, answers.examples
    low, high = max(0.0, -difference), (1 - difference) / 2
    rates = np.linspace(low, high, 200_003)[1:-1]
    log_likelihood = (
        (won * np.log(rates + difference) if won else 0)
        + (lost * np.log(rates) if lost else 0)
        + (n - won - lost) * np.log(1 - 2 * rates - difference)
    )
    rate = rates[np.argmax(log_likelihood)]
    variance = n * (2 * rate + difference * (1 - difference))
    return float((won - lost - n * difference) / np.sqrt(variance))


@pytest.mark.parametrize("numbers", [(53, 16, 9, 8), (2_650, 50, 110, 190), (28, 1, 3, 1)])
def test_the_bounds_are_where_the_score_statistic_is_significant(numbers: tuple) -> None:
    answers = PairedAnswers(*numbers)
    comparison = answers.compare(margin=0.03)
    assert _score(answers, comparison.low) == pytest.approx(1.96, abs=0.01)
    assert _score(answers, comparison.high) == pytest.approx(-1.96, abs=0.01)
    assert comparison.p_not_worse == pytest.approx(stats.norm.sf(_score(answers, -0.03)), abs=1e-4)


def test_mid_p_of_mcnemar() -> None:
    answers = PairedAnswers(both=100, candidate_only=1, baseline_only=9, neither=10)
    comparison = answers.compare(margin=0)
    exact = stats.binom.sf(9, 10, 0.5) + stats.binom.pmf(9, 10, 0.5) / 2
    assert comparison.p_worse == pytest.approx(exact)
    assert comparison.p_not_worse > 0.98
    assert comparison.difference == pytest.approx(-8 / 120)


@given(*[st.integers(0, 60)] * 4, st.sampled_from([0.0, 0.02, 0.1]))
def test_interval_and_p_values_agree(
    both: int, won: int, lost: int, neither: int, margin: float
) -> None:
    if not both + won + lost + neither:
        return
    answers = PairedAnswers(both, won, lost, neither)
    comparison = answers.compare(margin, confidence=0.9)
    assert -1 <= comparison.low <= comparison.difference + 1e-9
    assert comparison.difference - 1e-9 <= comparison.high <= 1
    assert 0 <= comparison.p_worse <= 1
    assert 0 <= comparison.p_not_worse <= 1
    if margin:
        # A 90 % interval excludes what a one-sided test of 5 % rejects.
        assert (comparison.p_not_worse < 0.0499) <= (comparison.low > -margin - 1e-6)
        assert (comparison.p_worse < 0.0499) <= (comparison.high < -margin + 1e-6)
    mirrored = PairedAnswers(both, lost, won, neither).compare(0.0, confidence=0.9)
    straight = answers.compare(0.0, confidence=0.9)
    assert (mirrored.low, mirrored.high) == pytest.approx((-straight.high, -straight.low), abs=1e-6)


def test_a_small_slice_proves_nothing_and_a_large_one_does() -> None:
    small = PairedAnswers(both=28, candidate_only=1, baseline_only=3, neither=1).compare(0.0)
    large = PairedAnswers(both=2_650, candidate_only=50, baseline_only=110, neither=190)
    assert small.p_worse > 0.1
    assert large.compare(0.0).p_worse < 1e-5


def test_equal_models_are_rarely_called_worse_and_never_inferior_by_much() -> None:
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(400):
        differing = rng.random(500) < 0.1
        won = int((differing & (rng.random(500) < 0.5)).sum())
        lost = int(differing.sum()) - won
        answers = PairedAnswers(400 - lost, won, lost, 100 - won)
        p_values.append(answers.compare(0.0).p_worse)
        assert answers.compare(0.1).p_not_worse < 0.01
    false_alarms = float((np.array(p_values) < 0.05).mean())
    assert stats.binomtest(round(400 * false_alarms), 400, 0.05).pvalue > 0.001


@pytest.mark.parametrize("lower_is_better", [False, True])
def test_means_are_compared_by_the_paired_t_test(lower_is_better: bool) -> None:
    rng = np.random.default_rng(1)
    baseline = rng.gamma(2.0, size=50)
    candidate = baseline + rng.normal(0.05, 0.2, 50)
    means = PairedMeans(
        examples=50,
        candidate_mean=float(candidate.mean()),
        baseline_mean=float(baseline.mean()),
        difference_variance=float((candidate - baseline).var(ddof=1)),
        lower_is_better=lower_is_better,
    )

    comparison = means.compare(margin=0.0)

    worse = "greater" if lower_is_better else "less"
    test = stats.ttest_rel(candidate, baseline, alternative=worse)
    interval = stats.ttest_rel(candidate, baseline).confidence_interval(0.95)
    assert comparison.p_worse == pytest.approx(test.pvalue)
    assert comparison.p_not_worse == pytest.approx(1 - test.pvalue)
    assert (comparison.low, comparison.high) == pytest.approx((interval.low, interval.high))
    assert means.compare(margin=1.0).p_not_worse < 1e-6


def test_equal_means_without_variance() -> None:
    same = PairedMeans(5, 0.5, 0.5, 0.0).compare(0.0)
    assert (same.p_worse, same.p_not_worse) == (0.5, 0.5)
    assert PairedMeans(5, 0.4, 0.5, 0.0).compare(0.0).p_worse == 0.0


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match="numbers of examples"):
        PairedAnswers(0, 0, 0, 0)
    with pytest.raises(ConfigError, match="numbers of examples"):
        PairedAnswers(1, -1, 0, 0)
    with pytest.raises(ConfigError, match="finite means"):
        PairedMeans(1, 0.0, 0.0, 0.0)
    with pytest.raises(ConfigError, match="finite means"):
        PairedMeans(5, float("nan"), 0.0, 0.0)
