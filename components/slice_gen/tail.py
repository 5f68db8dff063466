"""Probability that the mean loss of a slice is as high by chance."""

import numpy as np
from scipy import special, stats

_BINS = 2_048
_STEPS = 60


def binary_tail(
    errors: np.ndarray,
    examples: np.ndarray,
    total: tuple[int, int],
    margin: float,
    cutoff: float | np.ndarray = 1.0,
) -> np.ndarray:
    """Returns p-values of the numbers of errors in slices, ``[slices]``.

    The null hypothesis is that a slice is drawn at random from all examples, which makes the number
    hypergeometric, and that its error rate exceeds the rate elsewhere by ``margin`` at most, which
    makes it binomial; the larger p-value holds.

    Args:
        errors: Errors in each slice, ``[slices]``.
        examples: Examples in each slice, ``[slices]``.
        total: Errors and examples in all.
        margin: Difference of error rates that does not matter.
        cutoff: Largest p-value of interest, of each slice or of all; larger ones are bounds.
    """
    all_errors, all_examples = total
    elsewhere = (all_errors - errors) / np.maximum(all_examples - examples, 1)
    # Draws with replacement vary more, so that without a margin this is a bound.
    overall = np.full(len(errors), all_errors / max(all_examples, 1))
    rate = np.minimum(elsewhere + margin, 1) if margin else overall
    p_values = np.where(errors > 0, special.bdtrc(np.maximum(errors - 1, 0), examples, rate), 1.0)
    small = np.flatnonzero(p_values < cutoff)
    # The exact distribution takes about a millisecond for each slice.
    by_chance = stats.hypergeom.sf(errors[small] - 1, all_examples, all_errors, examples[small])
    p_values[small] = np.maximum(by_chance, p_values[small]) if margin else by_chance
    return p_values


class LossDistribution:
    """Distribution of the losses of all examples, as a histogram.

    Args:
        loss: Losses, ``[examples]``.
    """

    def __init__(self, loss: np.ndarray) -> None:
        counts, bounds = np.histogram(loss, _BINS)
        sums, _ = np.histogram(loss, bounds, weights=loss)
        used = counts > 0
        self._values = sums[used] / counts[used]
        self._weights = counts[used] / len(loss)
        self.mean = float(loss.mean())
        self.std = float(loss.std())

    def tail(self, means: np.ndarray, examples: np.ndarray, margin: float) -> np.ndarray:
        """Returns p-values of the mean losses of slices, ``[slices]``.

        The null hypothesis is that a slice is drawn at random from all examples, with losses that
        are higher by ``margin`` at most. The p-value is the saddlepoint approximation of Lugannani
        and Rice (Advances in Applied Probability, 1980), whose relative error stays small far in
        the tail, where the normal distribution is wrong by orders of magnitude for skewed losses.

        Args:
            means: Mean loss of each slice, ``[slices]``.
            examples: Examples in each slice, ``[slices]``.
            margin: Difference of mean losses that does not matter.
        """
        excess = np.asarray(means, float) - margin
        if self.std == 0:
            return np.where(excess > self.mean, 0.0, 1.0)
        return np.array(
            [self._tail(mean, n) for mean, n in zip(excess, np.asarray(examples), strict=True)]
        )

    def _tail(self, mean: float, examples: int) -> float:
        if mean <= self.mean:
            return 1.0
        if mean >= self._values[-1]:
            return float(self._weights[-1] ** examples) if mean == self._values[-1] else 0.0
        tilt = self._saddlepoint(mean)
        log_mgf, _, variance = self._cumulants(tilt)
        w = np.sqrt(max(2 * examples * (tilt * mean - log_mgf), 0.0))
        u = tilt * np.sqrt(examples * variance)
        if w < 1e-3:  # The formula is singular at the mean.
            return float(stats.norm.sf(w))
        tail = stats.norm.sf(w) + stats.norm.pdf(w) * (1 / u - 1 / w)
        return float(np.clip(tail, 0.0, 1.0))

    def _cumulants(self, tilt: float) -> tuple[float, float, float]:
        """Returns the cumulant generating function at ``tilt`` and its first two derivatives."""
        exponent = tilt * self._values
        shift = exponent.max()
        tilted = self._weights * np.exp(exponent - shift)
        total = tilted.sum()
        mean = float(tilted @ self._values / total)
        variance = float(tilted @ (self._values - mean) ** 2 / total)
        return float(np.log(total) + shift), mean, max(variance, 1e-300)

    def _saddlepoint(self, mean: float) -> float:
        """Returns the tilt under which the losses have a mean, by bisection."""
        low, high = 0.0, 1 / self.std
        while self._cumulants(high)[1] < mean and high < 1e12 / self.std:
            low, high = high, 2 * high
        for _ in range(_STEPS):
            middle = (low + high) / 2
            if self._cumulants(middle)[1] < mean:
                low = middle
            else:
                high = middle
        return (low + high) / 2
