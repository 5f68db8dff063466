"""Decisions of ``GradientNoiseScale``."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from tests.components.feeder_trainer.schedules.adaptive_training import (
    NUM_EXAMPLES,
    batches,
    decisions,
    train,
)
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.schedules import (
    GradientNoiseScale,
    IncreaseBatchOnPlateau,
)
from tfx_feeder.components.feeder_trainer.schedules.plan import PolicyDecision
from tfx_feeder.components.feeder_trainer.schedules.policy import make_plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec


def noise(*values: float | None, **also: Any) -> Callable[[EpochSpec], dict[str, Any]]:
    return lambda spec: {"noise_scale": values[min(spec.epoch, len(values) - 1)]} | also


def test_the_batch_follows_the_noise_scale_within_its_bounds() -> None:
    policy = GradientNoiseScale((0.01, 32, 16), 16, 100, mode="apply", lr_rule="linear")
    epochs = train(make_plan(policy, NUM_EXAMPLES), noise(*[900.0] * 8, *[1.0] * 8))

    sizes = batches(epochs)
    assert sizes[:8] == [32, 32, 64, 64, 100, 100, 100, 100]
    assert sizes[-1] == 16
    for spec, _ in epochs:
        assert spec.learning_rate == pytest.approx(0.01 * spec.batch_size / 32)
    assert decisions(epochs)[0].reason == (
        "gradient noise scale 900 examples at a batch of 32: batch 32 → 64, "
        "learning rate 0.01 → 0.02"
    )


def test_it_does_not_oscillate_within_one_factor() -> None:
    policy = GradientNoiseScale((0.01, 32, 20), 1, 1000, mode="apply", patience=1)
    swinging = [70.0, 40.0] * 10
    epochs = train(make_plan(policy, NUM_EXAMPLES), noise(*swinging))

    assert batches(epochs) == [32] + [64] * 19


def test_one_outlier_changes_nothing() -> None:
    policy = GradientNoiseScale((0.01, 32, 10), 1, 1000, mode="apply")
    epochs = train(make_plan(policy, NUM_EXAMPLES), noise(32.0, 200.0, 32.0))

    assert batches(epochs) == [32] * 10


@pytest.mark.parametrize("useless", [None, -5.0, 0.0, math.nan, math.inf])
def test_no_estimate_no_change(useless: float | None) -> None:
    policy = GradientNoiseScale((0.01, 32, 5), 1, 1000, mode="apply", patience=1)

    assert batches(train(make_plan(policy, NUM_EXAMPLES), noise(useless))) == [32] * 5


def test_advice_names_the_fitting_batch_once() -> None:
    policy = GradientNoiseScale((0.01, 32, 9), 16, 512)
    plan = make_plan(policy, NUM_EXAMPLES)

    assert len(plan.current_phase_epochs()) == 9
    epochs = train(plan, noise(300.0))

    assert batches(epochs) == [32] * 9
    assert decisions(epochs) == [
        PolicyDecision(
            "advice",
            "gradient noise scale 300 examples at a batch of 32: a batch of 256 would fit better",
        )
    ]


def test_input_bound_it_grows_where_the_throughput_grows() -> None:
    policy = GradientNoiseScale((0.01, 32, 6), 16, 512, mode="apply", patience=1)

    def trained(noise_scale: float, throughput: Callable[[int], float]) -> list[int]:
        def observe(spec: EpochSpec) -> dict[str, Any]:
            speed = throughput(spec.batch_size)
            return {"noise_scale": noise_scale, "input_bound": True, "examples_per_s": speed}

        return batches(train(make_plan(policy, NUM_EXAMPLES), observe))

    def per_batch(batch: int) -> float:
        return 1e4 * batch

    def per_example(batch: int) -> float:
        return 1e4

    assert trained(400.0, per_batch) == [32, 64, 64, 64, 128, 128]
    assert trained(400.0, per_example) == [32, 64, 64, 64, 32, 32]
    assert trained(4.0, per_example) == [32, 16, 16, 16, 16, 16]


def test_it_needs_the_noise_scale() -> None:
    assert make_plan(GradientNoiseScale((0.01, 32, 5), 16, 512), NUM_EXAMPLES).needs_noise_scale
    assert not make_plan(IncreaseBatchOnPlateau((0.01, 32, 5), 512), NUM_EXAMPLES).needs_noise_scale


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min": 33}, "at most the 32 of start"),
        ({"min": 0}, "1 or more"),
        ({"max": 31}, "32 or more"),
        ({"mode": "auto"}, "one of report, apply"),
        ({"factor": 1}, "2 or more"),
        ({"patience": 0}, "1 or more"),
        ({"lr_rule": "cubic"}, "one of none, sqrt, linear"),
        ({"steps_per_epoch": 0}, "1 or more, or None"),
    ],
)
def test_rejects_values_out_of_range(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GradientNoiseScale(**({"start": (0.01, 32, 5), "min": 16, "max": 512} | change))


def test_a_batch_that_could_shrink_below_the_replicas_is_rejected() -> None:
    policy = GradientNoiseScale((0.01, 32, 5), 2, 512)

    policy.validate(NUM_EXAMPLES, replicas=2)
    with pytest.raises(ConfigError, match="each of 4 replicas"):
        policy.validate(NUM_EXAMPLES, replicas=4)
