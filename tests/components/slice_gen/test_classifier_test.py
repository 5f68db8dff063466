"""Two-sample classifier test: error rate, power, and the weights that follow from it."""

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.slice_gen.classifier_test import (
    ClassifierTestOptions,
    classifier_test,
    weights_like_current,
)

ANY_SIZE = ClassifierTestOptions(min_auc=0.5)


def test_splits_of_the_same_data_alarm_at_the_nominal_rate():
    rng = np.random.default_rng(0)
    alarms = 0
    for seed in range(20):
        data = rng.normal(size=(200, 3))
        alarms += classifier_test(data[:100], data[100:], ANY_SIZE, seed=seed).drifted
    assert alarms <= stats.binom.isf(1e-3, 20, 0.05)


@pytest.mark.parametrize("change", [lambda x: x * 1.1, lambda x: np.roll(x, 1, axis=2)])
def test_changed_images_are_told_apart(change):
    images = load_digits().images
    found = classifier_test(change(images[:898]), images[898:])
    assert found.drifted
    best = max(found.results, key=lambda result: result.auc)
    assert best.low > 0.5
    assert best.low <= best.auc <= best.high
    assert best.inputs == "20 principal components of 64 inputs"


def test_trees_find_what_no_shift_shows():
    rng = np.random.default_rng(1)
    current, baseline = rng.normal(scale=2, size=(600, 2)), rng.normal(size=(600, 2))
    linear, trees = classifier_test(current, baseline).results
    assert linear.verdict == "no drift"
    assert trees.verdict == "drift"


def test_the_examples_that_carry_the_drift_have_the_highest_scores():
    rng = np.random.default_rng(2)
    baseline = rng.normal(size=(1000, 4))
    current = rng.normal(size=(1000, 4))
    current[:250] += 3
    found = classifier_test(current, baseline)
    assert roc_auc_score(np.arange(1000) < 250, found.scores(current)) > 0.98


def test_weighted_examples_resemble_the_traffic():
    rng = np.random.default_rng(3)
    traffic, evaluation = rng.normal(0.8, size=(4000, 1)), rng.normal(size=(4000, 1))
    found = classifier_test(traffic, evaluation)
    weights = weights_like_current(found, evaluation)
    assert weights.values.mean() == pytest.approx(1)
    assert np.average(evaluation[:, 0], weights=weights.values) == pytest.approx(0.8, abs=0.1)
    # The variance of a density ratio exp(0.8 x - 0.32) leaves exp(-0.64) of the examples.
    assert weights.effective_examples == pytest.approx(4000 * np.exp(-0.64), rel=0.2)


def test_large_weights_are_clipped_and_counted():
    rng = np.random.default_rng(4)
    traffic, evaluation = rng.normal(5, size=(500, 1)), rng.normal(size=(500, 1))
    options = ClassifierTestOptions(clip=3)
    weights = weights_like_current(
        classifier_test(traffic, evaluation, options), evaluation, options
    )
    assert weights.clipped > 0
    assert weights.effective_examples < 200


def test_without_drift_all_weigh_the_same():
    data = np.random.default_rng(5).normal(size=(400, 2))
    weights = weights_like_current(classifier_test(data[:200], data[200:]), data)
    assert (weights.values == 1).all()
    assert weights.effective_examples == 400
    assert len(weights_like_current(classifier_test(data[:200], data[200:]), data[:0]).values) == 0


def test_samples_are_bounded():
    data = np.zeros((3000, 1))
    [first, _] = classifier_test(data, data, ClassifierTestOptions(max_examples=100)).results
    assert (first.current_examples, first.baseline_examples) == (50, 50)


def test_missing_values_and_constants_are_no_error():
    rng = np.random.default_rng(6)
    data = np.column_stack([rng.normal(size=400), np.full(400, np.nan), np.full(400, 7.0)])
    data[::3, 0] = np.inf
    assert not classifier_test(data[:200], data[200:]).drifted


@pytest.mark.parametrize("size", [0, 1, 19])
def test_too_few_examples_are_told(size):
    found = classifier_test(np.zeros((size, 2)), np.zeros((100, 2)))
    [row] = found.results
    assert (row.verdict, row.reason) == ("not tested", "fewer than 20 examples")
    assert (found.scores(np.zeros((3, 2))) == 0).all()


def test_small_samples_are_tested_exactly():
    rng = np.random.default_rng(7)
    found = classifier_test(rng.normal(4, size=(40, 1)), rng.normal(size=(40, 1)))
    linear = found.results[0]
    assert linear.auc == pytest.approx(1, abs=0.01)
    # The smallest p-value that a ranking of 20 and 20 examples can have, or close to it.
    assert linear.p_value < 1e-8
    assert linear.high == pytest.approx(1, abs=0.01)


def test_different_inputs_and_options_are_refused():
    with pytest.raises(ConfigError, match="current"):
        classifier_test(np.zeros((30, 2)), np.zeros((30, 3)))
    for options in ({"error_rate": 0}, {"min_auc": 0.4}, {"clip": 1}, {"components": 0}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            ClassifierTestOptions(**options)
