"""Decisions of ``IncreaseBatchOnPlateau``."""

import math
from typing import Any

import keras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.components.feeder_trainer.schedules.adaptive_training import (
    NUM_EXAMPLES,
    batches,
    decisions,
    losses,
    train,
)
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.schedules import IncreaseBatchOnPlateau
from tfx_feeder.components.feeder_trainer.schedules.plan import PolicyDecision
from tfx_feeder.components.feeder_trainer.schedules.policy import make_plan


def test_grows_the_batch_up_to_its_bound_and_cuts_the_rate_from_there() -> None:
    policy = IncreaseBatchOnPlateau((0.01, 32, 9), max_batch_size=100, patience=2)
    epochs = train(make_plan(policy, NUM_EXAMPLES), losses([1.0] * 9))

    assert batches(epochs) == [32, 32, 32, 64, 64, 100, 100, 100, 100]
    rates = [spec.learning_rate for spec, _ in epochs]
    # 64 to 100 is less than a factor of 2: the rate takes the rest of it.
    assert rates[::2] == pytest.approx([0.01, 0.01, 0.01, 0.0078125, 0.00390625])
    assert decisions(epochs)[0] == PolicyDecision(
        "phase", "val_loss no better than 1 for 2 epochs: batch 32 → 64"
    )


def test_adam_divides_the_rate_by_the_root_of_the_factor() -> None:
    policy = IncreaseBatchOnPlateau((0.01, 32, 3), max_batch_size=512, patience=1, optimizer="adam")
    epochs = train(make_plan(policy, NUM_EXAMPLES), losses([1.0] * 3))

    assert epochs[-1][0].batch_size == 64
    assert epochs[-1][0].learning_rate == pytest.approx(0.01 / math.sqrt(2))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_batch_that_is_not_faster_is_given_up_for_a_rate_cut(optimizer: str) -> None:
    policy = IncreaseBatchOnPlateau((0.01, 32, 10), 512, patience=2, optimizer=optimizer)
    observed = losses([1.0] * 10, input_bound=True, examples_per_s=100.0)
    epochs = train(make_plan(policy, NUM_EXAMPLES), observed)

    assert batches(epochs) == [32, 32, 32, 64, 64, 64, 32, 32, 32, 32]
    rates = [spec.learning_rate for spec, _ in epochs]
    assert rates[6:] == pytest.approx([0.005, 0.005, 0.0025, 0.0025])
    assert "a batch of 64 is not faster: 100 examples/s, and 100 at 32" in (
        decisions(epochs)[1].reason
    )


def test_a_feed_with_a_fixed_cost_per_batch_grows_the_batch() -> None:
    policy = IncreaseBatchOnPlateau((0.01, 32, 9), 512, patience=2)
    epochs = train(
        make_plan(policy, NUM_EXAMPLES),
        lambda spec: {
            "metrics": {"val_loss": 1.0},
            "input_bound": True,
            "examples_per_s": 500.0 * spec.batch_size,
        },
    )

    assert batches(epochs) == [32, 32, 32, 64, 64, 64, 128, 128, 128]


def test_a_failed_trial_respects_the_smallest_rate() -> None:
    policy = IncreaseBatchOnPlateau((0.01, 32, 6), 64, patience=1, min_learning_rate=0.009)
    observed = losses([1.0] * 6, input_bound=True, examples_per_s=100.0)
    epochs = train(make_plan(policy, NUM_EXAMPLES), observed)

    assert min(spec.learning_rate for spec, _ in epochs) == pytest.approx(0.009)


def test_respects_a_rate_that_a_callback_has_set() -> None:
    policy = IncreaseBatchOnPlateau((0.01, 32, 3), max_batch_size=32, patience=1)
    epochs = train(make_plan(policy, NUM_EXAMPLES), losses([1.0] * 3, learning_rate=0.004))

    assert epochs[-1][0].learning_rate == pytest.approx(0.002)


def test_reports_when_nothing_is_left_to_change() -> None:
    policy = IncreaseBatchOnPlateau(
        (0.01, 32, 3), max_batch_size=32, patience=1, min_learning_rate=0.01
    )
    epochs = train(make_plan(policy, NUM_EXAMPLES), losses([1.0] * 3))

    assert [decision.kind for decision in decisions(epochs)] == ["unchanged", "unchanged"]


@pytest.mark.parametrize(
    ("monitor", "mode", "grows"),
    [
        ("val_accuracy", "auto", False),
        ("auc", "auto", False),
        ("val_loss", "auto", True),
        ("score", "max", False),
        ("val_accuracy", "min", True),
    ],
)
def test_detects_the_direction_of_improvement(monitor: str, mode: str, grows: bool) -> None:
    policy = IncreaseBatchOnPlateau((0.01, 32, 5), 64, monitor=monitor, mode=mode, patience=3)
    epochs = train(make_plan(policy, NUM_EXAMPLES), lambda spec: {"metrics": {monitor: spec.epoch}})

    assert (64 in batches(epochs)) == grows


def test_lists_the_metrics_when_the_monitored_one_is_missing() -> None:
    plan = make_plan(IncreaseBatchOnPlateau((0.01, 32, 4), 64), NUM_EXAMPLES)

    with pytest.raises(ConfigError, match="one of the metrics accuracy, loss"):
        train(plan, lambda spec: {"metrics": {"loss": 1.0, "accuracy": 0.1}})


class _Model:
    """What ``ReduceLROnPlateau`` needs of a model."""

    def __init__(self, learning_rate: float) -> None:
        self.optimizer = keras.optimizers.SGD(learning_rate)


@given(
    # Exact in float32, in which Keras compares.
    values=st.lists(st.integers(0, 64).map(lambda value: value / 64), min_size=2, max_size=30),
    patience=st.integers(1, 4),
    min_delta=st.sampled_from([0.0, 1 / 128, 1 / 8]),
)
@settings(deadline=None, max_examples=30)
def test_at_its_bound_it_is_reduce_lr_on_plateau(
    values: list[float], patience: int, min_delta: float
) -> None:
    callback = keras.callbacks.ReduceLROnPlateau(
        factor=0.5, patience=patience, min_delta=min_delta, min_lr=0.01
    )
    callback.set_model(_Model(0.1))
    callback.on_train_begin()
    expected = []
    for epoch, value in enumerate(values):
        expected.append(float(callback.model.optimizer.learning_rate))
        callback.on_epoch_end(epoch, {"val_loss": value})

    policy = IncreaseBatchOnPlateau(
        (0.1, 32, len(values)), 32, patience=patience, min_delta=min_delta, min_learning_rate=0.01
    )
    epochs = train(make_plan(policy, NUM_EXAMPLES), losses(values))

    assert [spec.learning_rate for spec, _ in epochs] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_batch_size": 31}, "32 or more"),
        ({"factor": 1.5}, "2 or more"),
        ({"patience": 0}, "1 or more"),
        ({"min_delta": -1}, "0 or more"),
        ({"min_delta": math.nan}, "0 or more"),
        ({"min_learning_rate": "0.1"}, "0 or more"),
        ({"mode": "up"}, "one of auto, min, max"),
        ({"optimizer": "lion"}, "one of sgd, adam"),
        ({"steps_per_epoch": 0}, "1 or more, or None"),
        ({"start": (0.0, 32, 5)}, "a number above 0"),
    ],
)
def test_on_plateau_rejects(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        IncreaseBatchOnPlateau(**({"start": (0.01, 32, 5), "max_batch_size": 512} | change))
