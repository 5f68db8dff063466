"""Static policies follow the arithmetic of their papers."""

import json
import math
import statistics
from itertools import pairwise
from typing import Any

import keras
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.schedules import (
    BatchSizeRamp,
    BatchWarmup,
    LearningRateDecay,
    PiecewiseConstantDecay,
)
from tfx_feeder.components.feeder_trainer.schedules.length import Length
from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule
from tfx_feeder.components.feeder_trainer.schedules.policy import make_plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import Phase

RELAXED = settings(deadline=None, max_examples=50)

decays = st.builds(
    LearningRateDecay,
    st.sampled_from(["cosine", "linear", "exponential"]),
    st.floats(1e-4, 10),
    st.floats(1e-4, 1),
)
lengths = st.one_of(
    st.builds(Length, st.integers(1, 50), st.just("ep")),
    st.builds(Length, st.integers(1, 5000), st.just("steps")),
    st.builds(Length, st.integers(1, 100_000), st.just("ex")),
)


@st.composite
def decays_to_batch(draw: st.DrawFn) -> BatchSizeRamp:
    batch_size = draw(st.integers(1, 64))
    return BatchSizeRamp(
        draw(decays),
        batch_size,
        draw(lengths),
        max_batch_size=draw(st.integers(batch_size, 2000)),
        optimizer=draw(st.sampled_from(["sgd", "adam"])),
        factor=draw(st.integers(2, 5)),
        steps_per_epoch=draw(st.none() | st.integers(1, 50)),
    )


def total_examples(policy: Any, length: Length, batch_size: int, num_examples: int) -> int:
    steps = policy.steps_per_epoch
    full = num_examples if steps is None else steps * batch_size
    return length.in_examples(batch_size=batch_size, epoch_examples=full)


@RELAXED
@given(policy=decays_to_batch(), num_examples=st.integers(64, 5000))
def test_decay_to_batch_keeps_the_noise_of_the_decay(
    policy: BatchSizeRamp, num_examples: int
) -> None:
    total = total_examples(policy, policy.length, policy.batch_size, num_examples)
    total_steps = math.ceil(total / policy.batch_size)
    exponent = {"sgd": 1, "adam": 0.5}[policy.optimizer]
    assert isinstance(policy.lr_schedule, LearningRateDecay)

    position = 0
    for phase in policy.schedule(num_examples).phases:
        stop = position + phase.length.amount
        steps = range(position // policy.batch_size, math.ceil(stop / policy.batch_size))
        rates = [policy.lr_schedule.rate(step, total_steps) for step in steps]
        mean = sum(rates) / len(rates)
        assert phase.learning_rate / phase.batch_size**exponent == pytest.approx(
            mean / policy.batch_size**exponent, rel=0.01
        )
        assert phase.batch_size % policy.batch_size == 0
        assert stop == total or phase.length.amount % phase.batch_size == 0
        position = stop
    assert position == total


@RELAXED
@given(policy=decays_to_batch(), num_examples=st.integers(64, 5000))
def test_decay_to_batch_grows_to_its_bound_and_decays_from_there(
    policy: BatchSizeRamp, num_examples: int
) -> None:
    phases = policy.schedule(num_examples).phases
    batches = [phase.batch_size for phase in phases]
    rates = [phase.learning_rate for phase in phases]
    largest = min(policy.max_batch_size, num_examples) // policy.batch_size * policy.batch_size

    assert batches[0] == policy.batch_size
    assert batches == sorted(batches)
    assert max(batches) <= largest
    powers = {policy.batch_size * policy.factor**k for k in range(20)}
    assert set(batches) <= powers | {largest}
    assert max(rates) <= policy.lr_schedule.rate(0, 1) * (1 + 1e-4)


def test_sgd_keeps_the_rate_and_grows_the_batch() -> None:
    decay = PiecewiseConstantDecay([0, 1000, 2000, 3000], [0.1, 0.02, 0.004, 0.0008])
    policy = BatchSizeRamp(decay, 32, "4000steps", max_batch_size=800, factor=5)

    phases = policy.schedule(50_000).phases

    assert [phase.batch_size for phase in phases] == [32, 160, 800, 800]
    assert [phase.learning_rate for phase in phases] == pytest.approx([0.1, 0.1, 0.1, 0.02])
    assert [phase.length.amount for phase in phases] == [32_000] * 4


def test_adam_divides_the_rate_by_the_root_of_two_on_each_halving() -> None:
    decay = PiecewiseConstantDecay([0, 1000, 2000], [0.01, 0.005, 0.0025])
    policy = BatchSizeRamp(decay, 32, "3000steps", max_batch_size=512, optimizer="adam")

    phases = policy.schedule(50_000).phases

    assert [phase.batch_size for phase in phases] == [32, 64, 128]
    assert [phase.learning_rate for phase in phases] == pytest.approx(
        [0.01, 0.01 / math.sqrt(2), 0.005]
    )


@pytest.mark.parametrize(
    "lr_schedule",
    [
        keras.optimizers.schedules.ExponentialDecay(0.1, decay_steps=1000, decay_rate=0.5),
        keras.optimizers.schedules.ExponentialDecay(0.1, 1000, 0.5, staircase=True),
        keras.optimizers.schedules.PiecewiseConstantDecay([999, 1999], [0.1, 0.05, 0.025]),
        keras.optimizers.schedules.InverseTimeDecay(0.1, 1000, 1.0, staircase=True),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_keras_schedules_become_phases_where_they_halve(lr_schedule: Any) -> None:
    policy = BatchSizeRamp(lr_schedule, 32, "2500steps", max_batch_size=64)

    first, second, *_ = policy.schedule(50_000).phases
    stop = 1000 + second.length.amount // 32

    assert first.length.amount == 32_000
    assert (first.batch_size, second.batch_size) == (32, 64)
    rates = [float(lr_schedule(step)) for step in range(stop)]
    means = [statistics.fmean(rates[:1000]), statistics.fmean(rates[1000:])]
    assert (first.learning_rate, second.learning_rate / 2) == pytest.approx(means, rel=0.01)


def test_a_cosine_to_zero_ends_in_few_phases() -> None:
    lr_schedule = keras.optimizers.schedules.CosineDecay(0.1, decay_steps=100_000)
    policy = BatchSizeRamp(lr_schedule, 32, "100000steps", max_batch_size=512)

    phases = policy.schedule(50_000).phases

    assert len(phases) < 15
    assert min(phase.length.amount for phase in phases) >= 0.005 * 3_200_000


def test_a_function_is_stored_as_its_values() -> None:
    policy = BatchSizeRamp(lambda step: 0.1 / (1 + step), 8, "100ep", 64, steps_per_epoch=10)

    read = parse_schedule(json.dumps(policy.to_dict()))

    assert read == policy
    assert read.schedule(10_000) == policy.schedule(10_000)
    mean = sum(0.1 / (1 + step) for step in range(10)) / 10
    assert policy.schedule(10_000).phases[0] == Phase(float(f"{mean:.6g}"), 8, "80ex")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr_schedule": lambda step: 0.1}, "Set steps_per_epoch"),
        (
            {"lr_schedule": lambda step: 0.1 + step, "length": "9steps"},
            "increases to 1.1 at",
        ),
        ({"lr_schedule": lambda step: 0.0, "length": "9steps"}, "above 0 until the end"),
        ({"lr_schedule": lambda step: math.nan, "length": "9steps"}, "above 0 until the end"),
        ({"lr_schedule": 0.1}, "a function of the step"),
        ({"lr_schedule": {"kind": "cosine"}}, "the keys kind, learning_rate and final"),
        ({"batch_size": 0}, "1 or more"),
        ({"max_batch_size": 31}, "32 or more"),
        ({"optimizer": "lion"}, "one of sgd, adam"),
        ({"factor": 1}, "2 or more"),
        ({"steps_per_epoch": 0}, "1 or more, or None"),
        ({"length": "0ep"}, "1 or more"),
    ],
)
def test_decay_to_batch_rejects(change: dict[str, Any], message: str) -> None:
    valid = {"lr_schedule": LearningRateDecay("cosine", 0.1), "batch_size": 32, "length": 9}

    with pytest.raises(ConfigError, match=message):
        BatchSizeRamp(**({"max_batch_size": 512} | valid | change))


@pytest.mark.parametrize(
    "make",
    [
        lambda: LearningRateDecay("step", 0.1),
        lambda: LearningRateDecay("cosine", 0.0),
        lambda: LearningRateDecay("cosine", 0.1, final=1.5),
        lambda: PiecewiseConstantDecay([1], [0.1]),
        lambda: PiecewiseConstantDecay([0, 0], [0.1, 0.1]),
        lambda: PiecewiseConstantDecay([0], [0.1, 0.1]),
        lambda: PiecewiseConstantDecay([0], [math.nan]),
        lambda: PiecewiseConstantDecay([], []),
    ],
)
def test_decays_reject(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()


@RELAXED
@given(
    start=st.builds(Phase, st.floats(1e-4, 1), st.integers(1, 64), lengths),
    growth=st.integers(1, 500),
    over=lengths,
    factor=st.integers(2, 5),
    lr_rule=st.sampled_from(["sqrt", "linear", "none"]),
    steps_per_epoch=st.none() | st.integers(1, 50),
)
def test_batch_warmup(
    start: Phase,
    growth: int,
    over: Length,
    factor: int,
    lr_rule: str,
    steps_per_epoch: int | None,
) -> None:
    end = start.batch_size + growth
    policy = BatchWarmup(start, end, over, factor, lr_rule, steps_per_epoch)
    total = total_examples(policy, start.length, start.batch_size, 5000)
    warmup = total_examples(policy, over, start.batch_size, 5000)
    try:
        *growing, full = policy.schedule(5000).phases
    except ConfigError:
        one_step_a_phase = (start.batch_size * factor**k for k in range(10))
        assert total <= max(warmup, sum(size for size in one_step_a_phase if size < end))
        return

    exponent = {"sqrt": 0.5, "linear": 1, "none": 0}[lr_rule]
    assert full.batch_size == end
    assert [phase.batch_size for phase in growing] == [
        start.batch_size * factor**index for index in range(len(growing))
    ]
    assert end <= start.batch_size * factor ** len(growing)
    assert len({phase.length.amount / phase.batch_size for phase in growing}) == 1
    assert sum(phase.length.amount for phase in [*growing, full]) == total
    for phase in [*growing, full]:
        assert phase.learning_rate == pytest.approx(
            start.learning_rate * (phase.batch_size / start.batch_size) ** exponent
        )


@RELAXED
@given(policy=decays_to_batch())
def test_phases_tile_the_stream_and_the_policy_is_named(policy: BatchSizeRamp) -> None:
    assume(policy.length.in_examples(batch_size=policy.batch_size, epoch_examples=64) < 20_000)
    plan = make_plan(policy, 64)
    specs = list(policy.schedule(64).epoch_specs(64))

    assert plan.policy == "decay_to_batch"
    assert plan.total_epochs == len(specs)
    assert all(earlier.stop == later.start for earlier, later in pairwise(specs))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"end": 32}, "33 or more"),
        ({"start": (0.1, 32, "96ex"), "over": "1ex"}, "ends within 96ex"),
        ({"over": "10ep"}, "ends within 10ep"),
        ({"factor": 1}, "2 or more"),
        ({"lr_rule": "cubic"}, "one of none, sqrt, linear"),
        ({"start": 0.1}, "learning_rate, batch_size, epochs"),
    ],
)
def test_batch_warmup_rejects(change: dict[str, Any], message: str) -> None:
    valid = {"start": (0.1, 32, 10), "end": 128, "over": 2}

    with pytest.raises(ConfigError, match=message):
        BatchWarmup(**(valid | change)).schedule(1000)
