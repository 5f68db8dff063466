"""Two-sample classifier test, and weights that make one sample resemble another.

A classifier learns on one half of the examples to tell current from baseline ones; how well it does
on the other half is the test (Lopez-Paz and Oquab, "Revisiting Classifier Two-Sample Tests", ICLR
2017). Scores of cross-validation would not be independent, and the test not valid.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.slice_gen.classifier_options import FEWEST, ClassifierTestOptions
from tfx_feeder.schemas.drift_report import DRIFT, NO_DRIFT, NOT_TESTED, ClassifierResult

_CONFIDENCE = 0.95
_DEFAULT = ClassifierTestOptions()
_EXACT = 25
"""Largest number of held-out examples of a side for which the p-value is exact."""


@dataclass(frozen=True, slots=True)
class Separation:
    """Outcome of the test and the classifier behind it.

    Args:
        results: Result of each classifier.
        classifier: Fitted classifier with the largest area under the curve; ``None`` if there were
            too few examples.
    """

    results: tuple[ClassifierResult, ...]
    classifier: Any = None

    @property
    def drifted(self) -> bool:
        """True if a classifier can tell both sides apart."""
        return any(result.verdict == DRIFT for result in self.results)

    def scores(self, examples: np.ndarray) -> np.ndarray:
        """Returns how much examples look like current ones: log-odds, ``[examples]``.

        The examples with the highest scores carry the drift. Zeros without a classifier.

        Args:
            examples: Inputs ``[examples, columns]``, or images ``[examples, height, width, …]``.
        """
        if self.classifier is None or not len(examples):
            return np.zeros(len(examples))
        return self.classifier.decision_function(_as_table(examples))


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights with which one sample resembles another.

    Args:
        values: Weights of mean 1, ``[examples]``.
        effective_examples: Number of equally weighted examples of the same precision.
        clipped: Number of examples whose weight was reduced to the largest one allowed.
    """

    values: np.ndarray
    effective_examples: float
    clipped: int


def classifier_test(
    current: np.ndarray,
    baseline: np.ndarray,
    options: ClassifierTestOptions = _DEFAULT,
    *,
    seed: int = 0,
) -> Separation:
    """Tests whether classifiers can tell two samples apart.

    A logistic regression on principal components finds shifts, boosted trees changes of shape.
    Their p-values are corrected for there being two.

    Args:
        current: Inputs of current examples ``[examples, columns]``: columns of a table, an
            embedding, or images of any shape, which should be downsampled. NaN stands for a missing
            value.
        baseline: Inputs of baseline examples of the same shape.
        options: Options of the test.
        seed: Selects the samples and the held-out half.

    Raises:
        ConfigError: The inputs of both sides have different shapes.
    """
    if current.shape[1:] != baseline.shape[1:]:
        raise ConfigError("current", received=current.shape[1:], expected=str(baseline.shape[1:]))
    rng = np.random.default_rng(seed)
    halves = [_halves(_as_table(side), options.max_examples, rng) for side in (baseline, current)]
    (train, train_is_current), (test, test_is_current) = (
        (
            np.concatenate([side[half] for side in halves]),
            np.repeat([False, True], [len(side[half]) for side in halves]),
        )
        for half in (0, 1)
    )
    columns = train.shape[1] if train.ndim > 1 else 0
    if min(len(current), len(baseline)) < FEWEST or not columns:
        reason = f"fewer than {FEWEST} examples" if columns else "no inputs"
        counts = len(current), len(baseline)
        row = ClassifierResult(
            f"{columns} inputs", "none", *counts, None, None, None, None, None, NOT_TESTED, reason
        )
        return Separation((row,))
    results, fitted = [], []
    learners = _learners(train, options, seed)
    for inputs, name, learner in learners:
        learner.fit(train, train_is_current)
        scores = learner.decision_function(test)
        results.append(
            _judged(inputs, name, scores[test_is_current], scores[~test_is_current], options)
        )
        fitted.append(learner)
    best = int(np.argmax([result.auc for result in results]))
    return Separation(tuple(results), fitted[best])


def weights_like_current(
    separation: Separation,
    examples: np.ndarray,
    options: ClassifierTestOptions = _DEFAULT,
) -> Weights:
    """Returns weights with which baseline examples resemble the current data.

    The odds of a classifier are the density ratio up to a factor (Bickel, Brückner and Scheffer,
    ICML 2007), which the mean removes. Large ratios are clipped, at the price of some bias.

    Args:
        separation: Result of the test.
        examples: Inputs of the examples to weight, as in the test.
        options: Options with the largest weight.
    """
    if not len(examples):
        return Weights(np.ones(0), 0.0, 0)
    scores = separation.scores(examples) if separation.drifted else np.zeros(len(examples))
    weights = np.exp(scores - scores.max())
    weights /= weights.mean()
    clipped = weights > options.clip
    weights = np.minimum(weights, options.clip)
    weights /= weights.mean()
    effective = weights.sum() ** 2 / np.square(weights).sum()
    return Weights(weights, float(effective), int(clipped.sum()))


def _as_table(examples: np.ndarray) -> np.ndarray:
    return np.asarray(examples, np.float32).reshape(len(examples), math.prod(examples.shape[1:]))


def _halves(
    examples: np.ndarray, most: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    chosen = rng.permutation(len(examples))[:most]
    middle = len(chosen) // 2
    return examples[chosen[:middle]], examples[chosen[middle:]]


class _Finite:
    """Replaces missing and infinite values by the mean of the finite ones of each column."""

    def fit(self, table: np.ndarray, _: object = None) -> "_Finite":
        finite = np.where(np.isfinite(table), table, np.nan)
        known = np.isfinite(table).sum(axis=0)
        self._means = np.nansum(finite, axis=0) / np.maximum(known, 1)
        return self

    def transform(self, table: np.ndarray) -> np.ndarray:
        return np.where(np.isfinite(table), table, self._means)

    def fit_transform(self, table: np.ndarray, _: object = None) -> np.ndarray:
        return self.fit(table).transform(table)


def _learners(
    train: np.ndarray, options: ClassifierTestOptions, seed: int
) -> Sequence[tuple[str, str, Any]]:
    columns = train.shape[1]
    components = min(options.components, columns, len(train) - 1)
    all_inputs = f"{columns} inputs"
    reduced = f"{components} principal components of {all_inputs}"

    def few_components() -> tuple[Any, ...]:
        return _Finite(), StandardScaler(), PCA(components, random_state=seed)

    # Trees see wide inputs, such as pixels, through the same components: one split of a single
    # pixel tells little, and the time grows with the columns.
    wide = columns > options.components
    trees = HistGradientBoostingClassifier(
        max_iter=50, max_leaf_nodes=15, min_samples_leaf=10, random_state=seed
    )
    return (
        (
            reduced if wide else all_inputs,
            "logistic regression",
            make_pipeline(*few_components(), LogisticRegression(max_iter=1000)),
        ),
        (
            reduced if wide else all_inputs,
            "gradient-boosted trees",
            make_pipeline(*few_components(), trees) if wide else make_pipeline(trees),
        ),
    )


def _judged(
    inputs: str,
    learner: str,
    current: np.ndarray,
    baseline: np.ndarray,
    options: ClassifierTestOptions,
) -> ClassifierResult:
    exact = max(len(current), len(baseline)) <= _EXACT and not _has_ties(current, baseline)
    test = stats.mannwhitneyu(
        current, baseline, alternative="greater", method="exact" if exact else "asymptotic"
    )
    auc = float(test.statistic) / (len(current) * len(baseline))
    low, high = _interval(current, baseline, auc)
    p_value, adjusted = float(test.pvalue), min(1.0, 2 * float(test.pvalue))
    what = f"AUC {auc:.3f}, p = {adjusted:.2g} after correction"
    if adjusted >= options.error_rate:
        verdict, reason = NO_DRIFT, f"by chance: {what}"
    elif auc < options.min_auc:
        verdict, reason = NO_DRIFT, f"real, but too small to matter: {what}"
    else:
        verdict, reason = DRIFT, f"the classifier tells both sides apart: {what}"
    return ClassifierResult(
        inputs, learner, len(current), len(baseline), auc, low, high, p_value, adjusted, verdict,
        reason,
    )  # fmt: skip


def _has_ties(one: np.ndarray, other: np.ndarray) -> bool:
    both = np.concatenate([one, other])
    return len(np.unique(both)) < len(both)


def _interval(current: np.ndarray, baseline: np.ndarray, auc: float) -> tuple[float, float]:
    """Returns the interval of an area under the curve.

    DeLong, DeLong and Clarke-Pearson, Biometrics, 1988, on the logit scale, which keeps it within 0
    and 1.
    """
    sizes = len(current), len(baseline)
    ranks = stats.rankdata(np.concatenate([current, baseline]))
    above = (ranks[: sizes[0]] - stats.rankdata(current)) / sizes[1]
    below = 1 - (ranks[sizes[0] :] - stats.rankdata(baseline)) / sizes[0]
    variance = above.var(ddof=1) / sizes[0] + below.var(ddof=1) / sizes[1]
    # Half an example keeps the area off the ends, where the logit is infinite.
    least = 0.5 / (sizes[0] * sizes[1])
    inside = min(max(auc, least), 1 - least)
    half = stats.norm.ppf((1 + _CONFIDENCE) / 2) * math.sqrt(variance) / (inside * (1 - inside))
    center = math.log(inside / (1 - inside))
    low, high = (1 / (1 + math.exp(-np.clip(center + s * half, -500, 500))) for s in (-1, 1))
    return min(float(low), auc), max(float(high), auc)
