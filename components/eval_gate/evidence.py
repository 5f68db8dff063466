"""Tests of one threshold on one slice, chosen by what the evaluation holds.

Each test gives a p-value for "worse than the threshold" and one for "not worse". A metric without
counts, sums or standard errors is compared by its bare value, and the result says so.
"""

import math
from dataclasses import dataclass

from scipy import stats

from tfx_feeder.components.eval_gate.paired import Comparison, PairedAnswers, PairedMeans
from tfx_feeder.schemas.model_comparison import ComparedSlice, Estimate

CONFIDENCE = 0.95
BARE = "bare value"
_TOLERANCE = 1e-6  # Metrics are computed in single precision: 19 of 20 is 0.94999999.
_POWER_QUANTILE = float(stats.norm.ppf(0.8))


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence of the examples of a slice about a threshold.

    Args:
        method: Name of the test; ``bare value`` if there is none.
        candidate: Value of the candidate.
        baseline: Value of the baseline; ``None`` for a floor.
        low: Lower bound of the interval of the difference, or of the candidate for a floor.
        high: Upper bound.
        p_worse: Probability of such a value if the threshold is just met; ``None`` without a test.
        p_not_worse: Probability of such a value if the threshold is just missed.
        met: True if the measured value meets the threshold.
    """

    method: str
    candidate: float
    baseline: float | None
    low: float | None
    high: float | None
    p_worse: float | None
    p_not_worse: float | None
    met: bool


def judge_floor(found: ComparedSlice, metric: str, floor: float, *, lower: bool) -> Evidence:
    """Tests whether the candidate is worse than a fixed value.

    Answers are tested by the exact binomial test with mid-p, measures by the t-test, and other
    metrics by the standard error that TFMA estimated.

    Args:
        found: Results on the slice, which hold the metric.
        metric: Name of the metric.
        floor: Worst acceptable value.
        lower: True if less is better.
    """
    if metric in found.answers:
        counts = found.answers[metric]
        right, n = counts.right, counts.examples
        # A floor that no model can miss or meet has p-values as well.
        rate = min(max(floor, 0.0), 1.0)
        below = float(stats.binom.cdf(right, n, rate) - stats.binom.pmf(right, n, rate) / 2)
        p_worse, p_not_worse = (1 - below, below) if lower else (below, 1 - below)
        interval = stats.binomtest(right, n).proportion_ci(CONFIDENCE, method="wilson")
        value = right / n
        return Evidence(
            method="binomial mid-p",
            candidate=value,
            baseline=None,
            low=float(interval.low),
            high=float(interval.high),
            p_worse=p_worse,
            p_not_worse=p_not_worse,
            met=value <= floor if lower else value >= floor,
        )
    if metric in found.sums and found.sums[metric].examples > 1:
        sums = found.sums[metric]
        error = math.sqrt(sums.candidate_variance / sums.examples)
        estimate = Estimate(sums.candidate, error, sums.examples - 1)
        return _by_t(estimate, floor, lower=lower, method="t")
    if metric in found.estimates:
        return _by_t(found.estimates[metric], floor, lower=lower, method="TFMA interval, t")
    value = found.sums[metric].candidate if metric in found.sums else found.candidate[metric]
    slack = floor - value if lower else value - floor
    return Evidence(BARE, value, None, None, None, None, None, slack >= -_tolerance(floor))


def judge_margin(
    found: ComparedSlice, metric: str, margin: float, *, lower: bool
) -> Evidence | None:
    """Tests whether the candidate is worse than the baseline by more than a margin.

    Args:
        found: Results on the slice, which hold the metric.
        metric: Name of the metric.
        margin: Loss that does not matter.
        lower: True if less is better.

    Returns:
        The evidence; ``None`` if the baseline has no such metric.
    """
    comparison = _paired(found, metric, margin, lower=lower)
    if comparison is not None:
        gain = -comparison.difference if lower else comparison.difference
        return Evidence(
            method=comparison.method,
            candidate=comparison.candidate,
            baseline=comparison.baseline,
            low=comparison.low,
            high=comparison.high,
            p_worse=comparison.p_worse,
            p_not_worse=comparison.p_not_worse,
            met=gain >= -margin,
        )
    if metric not in found.candidate or metric not in found.baseline:
        return None
    candidate, baseline = found.candidate[metric], found.baseline[metric]
    if metric in found.differences:
        difference = found.differences[metric]
        threshold = margin if lower else -margin
        tested = _by_t(difference, threshold, lower=lower, method="TFMA interval, paired t")
        return Evidence(
            method=tested.method,
            candidate=candidate,
            baseline=baseline,
            low=tested.low,
            high=tested.high,
            p_worse=tested.p_worse,
            p_not_worse=tested.p_not_worse,
            met=tested.met,
        )
    gain = baseline - candidate if lower else candidate - baseline
    return Evidence(
        BARE, candidate, baseline, None, None, None, None, gain >= -margin - _tolerance(baseline)
    )


def examples_needed(
    examples: int, p_worse: float, p_not_worse: float, alpha_worse: float, alpha_not_worse: float
) -> int | None:
    """Returns how many examples would decide with a power of 80 % if the measured value is true.

    By the normal approximation: the distance of the value from the threshold, in standard errors,
    grows with the square root of the number of examples.

    Args:
        examples: Number of examples.
        p_worse: p-value of "worse than the threshold".
        p_not_worse: p-value of "not worse".
        alpha_worse: Level at which a loss counts as proven.
        alpha_not_worse: Level at which no loss counts as proven.

    Returns:
        The number; ``None`` if the measured value is at the threshold.
    """
    p, alpha = min((p_worse, alpha_worse), (p_not_worse, alpha_not_worse))
    distance = float(stats.norm.isf(p))
    if not math.isfinite(distance) or distance < 1e-3:
        return None
    wanted = float(stats.norm.isf(alpha)) + _POWER_QUANTILE
    return max(examples + 1, math.ceil(examples * (wanted / distance) ** 2))


def _paired(found: ComparedSlice, metric: str, margin: float, *, lower: bool) -> Comparison | None:
    counts, sums = found.answers.get(metric), found.sums.get(metric)
    if counts and counts.paired:
        won, lost = counts.candidate_only, counts.baseline_only
        return PairedAnswers(counts.both, won, lost, counts.neither).compare(margin, CONFIDENCE)
    if not sums or sums.baseline is None or sums.difference_variance is None or sums.examples < 2:
        return None
    if not all(map(math.isfinite, (sums.candidate, sums.baseline, sums.difference_variance))):
        return None
    means = PairedMeans(
        sums.examples, sums.candidate, sums.baseline, sums.difference_variance, lower
    )
    return means.compare(margin, CONFIDENCE)


def _by_t(estimate: Estimate, threshold: float, *, lower: bool, method: str) -> Evidence:
    slack = threshold - estimate.value if lower else estimate.value - threshold
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, estimate.freedom)) * estimate.error
    if abs(slack) <= _tolerance(threshold):
        t = 0.0
    elif estimate.error == 0:
        t = math.copysign(math.inf, slack)
    else:
        t = slack / estimate.error
    return Evidence(
        method=method,
        candidate=estimate.value,
        baseline=None,
        low=estimate.value - half,
        high=estimate.value + half,
        p_worse=float(stats.t.cdf(t, estimate.freedom)),
        p_not_worse=float(stats.t.sf(t, estimate.freedom)),
        met=slack >= -_tolerance(threshold),
    )


def _tolerance(value: float) -> float:
    return _TOLERANCE * max(1.0, abs(value))
