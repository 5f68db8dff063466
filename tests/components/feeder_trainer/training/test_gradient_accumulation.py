"""Micro-batches give the gradients of the whole batch; the noise scale is what the paper says."""

import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.training.gradient_accumulation import (
    AccumulatedGradients,
    accumulate,
    noise_scale,
)


@pytest.fixture(scope="module")
def problem():
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=(23, 5)), tf.float32)
    y = tf.constant(random.normal(size=(23,)), tf.float32)
    return x, y, [tf.Variable(tf.ones([5])), tf.Variable(0.5)]


def gradients_of(weights):
    def gradients(x, y, weight, fraction=1.0):
        del weight, fraction
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(tf.linalg.matvec(x, weights[0]) + weights[1] - y))
            loss += 0.1 * tf.reduce_sum(tf.square(weights[0]))
        return AccumulatedGradients(tape.gradient(loss, weights), loss)

    return gradients


@pytest.mark.parametrize("limit", [1, 4, 8, 22, 23, 100])
def test_the_sum_over_micro_batches_is_the_gradient_of_the_batch(problem, limit):
    x, y, weights = problem
    whole = gradients_of(weights)(x, y, None)
    parts = accumulate(
        gradients_of(weights), (x, y, None), weights, limit=limit, at_least_two=False
    )
    for part, expected in zip(parts.values, whole.values, strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-4)
    np.testing.assert_allclose(parts.loss, whole.loss, rtol=1e-5)


def test_no_micro_batch_is_larger_than_the_limit(problem):
    x, y, weights = problem
    sizes = []

    def gradients(x, y, weight, fraction):
        tf.py_function(lambda n: sizes.append(int(n)), [tf.shape(x)[0]], [])
        return gradients_of(weights)(x, y, weight)

    tf.function(accumulate)(gradients, (x, y, None), weights, limit=4, at_least_two=False)
    assert sizes == [4, 4, 4, 4, 4, 3]


def test_a_weight_without_gradient_gets_none(problem):
    x, y, weights = problem
    unused = tf.Variable([1.0, 2.0])

    def gradients(x, y, weight, fraction):
        result = gradients_of(weights)(x, y, weight)
        return result._replace(values=[*result.values, None])

    parts = accumulate(gradients, (x, y, None), [*weights, unused], limit=8, at_least_two=False)
    assert [value is None for value in parts.values] == [False, False, True]
    assert float(parts.batch_sq_norm) > 0


def test_norms_come_only_with_equal_micro_batches(problem):
    x, y, weights = problem
    odd = accumulate(gradients_of(weights), (x, y, None), weights, limit=None, at_least_two=True)
    assert float(odd.micro_batch_size) == 0
    even = accumulate(
        gradients_of(weights), (x[:22], y[:22], None), weights, limit=None, at_least_two=True
    )
    assert float(even.micro_batch_size) == 11
    halves = [gradients_of(weights)(x[r], y[r], None).values for r in (slice(11), slice(11, 22))]
    squares = [sum(float(tf.reduce_sum(g**2)) for g in half) for half in halves]
    np.testing.assert_allclose(even.micro_sq_norm, np.mean(squares), rtol=1e-4)


def test_the_noise_scale_of_known_noise_is_found():
    """Gradients with mean G and covariance S per example: the scale is tr(S) / |G|^2."""
    random = np.random.default_rng(1)
    mean, deviation, small, big = np.full(10, 0.5), 2.0, 16, 64
    expected = 10 * deviation**2 / np.sum(mean**2)
    noise = random.normal(0, deviation / np.sqrt(small), size=(4000, big // small, 10))
    parts = mean + noise
    micro_sq_norm = np.mean(np.sum(parts**2, axis=-1), axis=-1)
    batch_sq_norm = np.sum(np.mean(parts, axis=1) ** 2, axis=-1)
    sizes = np.full(4000, float(small)), np.full(4000, float(big))
    estimate = noise_scale(micro_sq_norm, batch_sq_norm, *sizes)
    assert estimate == pytest.approx(expected, rel=0.1)


def test_the_noise_scale_needs_two_sizes():
    ones, zeros = np.ones(5), np.zeros(5)
    assert noise_scale(ones, ones, zeros, ones) is None
