"""Comparison of two models on the same examples.

Differences of paired answers vary far less than those of independent samples: examples on which
both models agree carry no evidence. Each comparison gives two p-values, against "worse by the
margin or more" and against "not worse than the margin": one can be proven, the other, or neither.
"""

import math
from dataclasses import dataclass
from typing import Protocol

from scipy import optimize, special, stats

from tfx_feeder.common.errors import ConfigError

_NEGLIGIBLE = 1e-12


@dataclass(frozen=True, slots=True)
class Comparison:
    """Difference of a metric between candidate and baseline.

    Args:
        method: Name of the test.
        examples: Number of examples.
        candidate: Metric of the candidate.
        baseline: Metric of the baseline.
        low: Lower bound of the confidence interval of the difference.
        high: Upper bound.
        p_worse: Probability of such a loss if the candidate is worse by the margin at most; small
            if the candidate is worse.
        p_not_worse: Probability of such a gain if the candidate is worse by the margin or more;
            small if the candidate is not inferior.
    """

    method: str
    examples: int
    candidate: float
    baseline: float
    low: float
    high: float
    p_worse: float
    p_not_worse: float

    @property
    def difference(self) -> float:
        """Candidate minus baseline."""
        return self.candidate - self.baseline


class Paired(Protocol):
    """Paired measurements that can be compared."""

    def compare(self, margin: float, confidence: float = 0.95) -> Comparison:
        """Compares candidate and baseline.

        Args:
            margin: Loss that does not matter, 0 or more.
            confidence: Level of the interval, 0 to 1.
        """
        ...


@dataclass(frozen=True, slots=True)
class PairedAnswers:
    """Right and wrong answers of two models to the same examples.

    Args:
        both: Examples that both models answer right.
        candidate_only: Examples that only the candidate answers right.
        baseline_only: Examples that only the baseline answers right.
        neither: Examples that both models answer wrong.

    Raises:
        ConfigError: A number is negative, or all are 0.
    """

    both: int
    candidate_only: int
    baseline_only: int
    neither: int

    def __post_init__(self) -> None:
        numbers = (self.both, self.candidate_only, self.baseline_only, self.neither)
        if min(numbers) < 0 or not sum(numbers):
            raise ConfigError("answers", received=numbers, expected="numbers of examples")

    @property
    def examples(self) -> int:
        """Number of examples."""
        return self.both + self.candidate_only + self.baseline_only + self.neither

    def compare(self, margin: float, confidence: float = 0.95) -> Comparison:
        """Compares the accuracy of both models.

        Without a margin, the p-values are those of McNemar's exact test with mid-p (Fagerland,
        Lydersen and Laake, BMC Medical Research Methodology, 2013). With a margin, and for the
        interval, the score test of Tango (Statistics in Medicine, 1998) holds, which needs no
        minimum number of examples to be defined.

        Args:
            margin: Loss of accuracy that does not matter, 0 to 1.
            confidence: Level of the interval, 0 to 1.
        """
        lost, won, n = self.baseline_only, self.candidate_only, self.examples
        if margin == 0:
            method = "McNemar mid-p"
            p_worse, p_not_worse = _mid_p(lost, lost + won), _mid_p(won, lost + won)
        else:
            method = "Tango score"
            z = _tango_z(won, lost, n, -margin)
            p_worse, p_not_worse = float(special.ndtr(z)), float(special.ndtr(-z))
        low, high = _tango_interval(won, lost, n, confidence)
        return Comparison(
            method=method,
            examples=n,
            candidate=(self.both + won) / n,
            baseline=(self.both + lost) / n,
            low=low,
            high=high,
            p_worse=p_worse,
            p_not_worse=p_not_worse,
        )


def _mid_p(hits: int, trials: int) -> float:
    """Returns the one-sided mid-p value of hits or more in fair trials."""
    # The mean of "hits or more" and "more than hits"; several times faster than stats.binom.
    at_least = 1.0 if hits == 0 else special.bdtrc(hits - 1, trials, 0.5)
    return float(at_least + special.bdtrc(hits, trials, 0.5)) / 2


def _tango_z(won: int, lost: int, n: int, difference: float) -> float:
    """Returns the score statistic of a hypothetical difference of two paired proportions."""
    b = won - lost - n * difference
    # The rate of "only the baseline is right" under the hypothesis solves a quadratic equation.
    quadratic, linear = 2 * n, -won - lost + (2 * n - won + lost) * difference
    constant = -lost * difference * (1 - difference)
    root = math.sqrt(max(linear**2 - 4 * quadratic * constant, 0.0))
    rate = (root - linear) / (2 * quadratic)
    variance = n * (2 * rate + difference * (1 - difference))
    if variance <= _NEGLIGIBLE:
        return 0.0 if abs(b) <= _NEGLIGIBLE else math.copysign(math.inf, b)
    return b / math.sqrt(variance)


def _tango_interval(won: int, lost: int, n: int, confidence: float) -> tuple[float, float]:
    bound = float(special.ndtri((1 + confidence) / 2))
    observed = (won - lost) / n

    def crossing(sign: float, end: float) -> float:
        if abs(end - observed) <= _NEGLIGIBLE:
            return end

        def excess(difference: float) -> float:
            return sign * _tango_z(won, lost, n, difference) - bound

        return (
            end if excess(end) <= 0 else optimize.root_scalar(excess, bracket=(observed, end)).root
        )

    return crossing(1, -1.0), crossing(-1, 1.0)


@dataclass(frozen=True, slots=True)
class PairedMeans:
    """Differences of a per-example measure, such as a loss, summed up.

    Args:
        examples: Number of examples.
        candidate_mean: Mean of the candidate.
        baseline_mean: Mean of the baseline.
        difference_variance: Sample variance of the differences of the examples.
        lower_is_better: True for a loss.

    Raises:
        ConfigError: There are fewer than 2 examples, or a value is not finite.
    """

    examples: int
    candidate_mean: float
    baseline_mean: float
    difference_variance: float
    lower_is_better: bool = False

    def __post_init__(self) -> None:
        values = (self.candidate_mean, self.baseline_mean, self.difference_variance)
        if self.examples < 2 or not all(map(math.isfinite, values)):
            raise ConfigError(
                "means", received=(self.examples, *values), expected="finite means of 2 examples"
            )

    def compare(self, margin: float, confidence: float = 0.95) -> Comparison:
        """Compares the means by the paired t-test.

        Args:
            margin: Change for the worse that does not matter, in the unit of the measure.
            confidence: Level of the interval, 0 to 1.
        """
        difference = self.candidate_mean - self.baseline_mean
        gain = -difference if self.lower_is_better else difference
        error, freedom = math.sqrt(self.difference_variance / self.examples), self.examples - 1
        if error == 0:
            t = math.copysign(math.inf, gain + margin) if gain + margin else 0.0
        else:
            t = (gain + margin) / error
        half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error
        return Comparison(
            method="paired t",
            examples=self.examples,
            candidate=self.candidate_mean,
            baseline=self.baseline_mean,
            low=difference - half,
            high=difference + half,
            p_worse=float(stats.t.cdf(t, freedom)),
            p_not_worse=float(stats.t.sf(t, freedom)),
        )
