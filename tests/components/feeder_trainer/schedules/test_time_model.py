"""Predicted training times are additive, monotonic, and uncertain where not measured."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.schedules.time_model import (
    StepProfile,
    StepTime,
    batch_sizes_to_profile,
    ideal_scaling,
    known_epochs,
    predict,
)

PROFILE = StepProfile(
    2.0, {32: StepTime(0.01, 0.001, 20), 128: StepTime(0.03, 0.002, 20)}, eval_s=0.5
)

times = st.builds(StepTime, st.floats(1e-4, 10.0), st.floats(0.0, 1.0), st.integers(5, 100))
profiles = st.builds(
    StepProfile,
    st.floats(0.0, 60.0),
    st.dictionaries(st.integers(1, 512), times, min_size=1, max_size=3),
    st.floats(0.0, 10.0),
    st.floats(0.0, 1.0),
)
phases = st.tuples(st.just(0.01), st.integers(1, 600), st.integers(1, 3))
schedules = st.builds(
    Schedule, st.lists(phases, min_size=1, max_size=4), st.none() | st.integers(1, 50)
)
works = st.builds(lambda schedule: list(schedule.epoch_specs(num_examples=1000)), schedules)


def of_one_batch(size: int):
    return list(Schedule([(0.1, size, "1steps")], steps_per_epoch=1).epoch_specs(10_000))


def test_the_sum_of_steps_start_and_validation() -> None:
    specs = list(Schedule.from_value("0.01:32x2, 0.005:128x1 @10").epoch_specs(10_000))

    prediction = predict(PROFILE, specs)

    assert prediction.seconds == pytest.approx(2.0 + 20 * 0.01 + 10 * 0.03 + 3 * 0.5)
    assert prediction.low_s == pytest.approx(prediction.seconds - 20 * 0.001 - 10 * 0.002)
    assert prediction.high_s == pytest.approx(prediction.seconds + 20 * 0.001 + 10 * 0.002)
    assert prediction.epoch_end_s == pytest.approx((2.6, 3.2, 4.0))
    assert [prediction.fraction_elapsed(n) for n in (0, 2, 3, 9)] == pytest.approx([0, 0.8, 1, 1])


def test_the_feed_is_opened_for_every_phase() -> None:
    specs = list(Schedule.from_value("0.01:32x2, 0.005:128x1 @10").epoch_specs(10_000))

    more = predict(dataclasses.replace(PROFILE, open_s=0.25), specs).seconds

    assert more == pytest.approx(predict(PROFILE, specs).seconds + 2 * 0.25)


def test_between_two_sizes_it_interpolates_with_a_wider_range() -> None:
    exact = predict(dataclasses.replace(PROFILE, start_s=0.0, eval_s=0.0), of_one_batch(32))
    between = predict(dataclasses.replace(PROFILE, start_s=0.0, eval_s=0.0), of_one_batch(80))

    assert between.seconds == pytest.approx(0.02)
    assert between.high_s - between.low_s > 2 * (exact.high_s - exact.low_s)


@pytest.mark.parametrize(("size", "low", "high"), [(16, 0.009 / 2, 0.011), (256, 0.028, 0.064)])
def test_beyond_the_profiled_sizes_the_fixed_cost_is_unknown(
    size: int, low: float, high: float
) -> None:
    prediction = predict(dataclasses.replace(PROFILE, start_s=0.0, eval_s=0.0), of_one_batch(size))

    assert (prediction.low_s, prediction.high_s) == pytest.approx((low, high))
    assert low < prediction.seconds < high


def test_a_partial_batch_is_a_step_of_its_size_or_dropped() -> None:
    specs = list(Schedule.from_value("0.01:32x1").epoch_specs(num_examples=112))  # 3.5 batches

    whole = predict(PROFILE, specs, drop_remainder=True)

    assert whole.seconds == pytest.approx(2.5 + 3 * 0.01)
    assert whole.seconds < predict(PROFILE, specs).seconds <= 2.5 + 4 * 0.01


@given(profile=profiles, specs=works, cut=st.integers(0, 20))
def test_predictions_are_additive_over_epochs(profile: StepProfile, specs: list, cut: int) -> None:
    first, second = predict(profile, specs[:cut]), predict(profile, specs[cut:])
    whole = predict(profile, specs)
    same_phase = 0 < cut < len(specs) and specs[cut - 1].phase == specs[cut].phase
    # Each part starts up, and the second part reopens the feed within a phase.
    twice_s = profile.start_s + same_phase * profile.open_s

    for name in ("seconds", "low_s", "high_s"):
        parts = getattr(first, name) + getattr(second, name) - twice_s
        assert getattr(whole, name) == pytest.approx(parts)


@given(profile=profiles, specs=works, slower=st.floats(1.0, 3.0), data=st.data())
def test_predictions_do_not_decrease_when_a_step_takes_longer(profile, specs, slower, data) -> None:
    size = data.draw(st.sampled_from(sorted(profile.step_s)))
    time = dataclasses.replace(
        profile.step_s[size], median_s=profile.step_s[size].median_s * slower
    )
    slow = dataclasses.replace(profile, step_s={**profile.step_s, size: time})

    before, after = predict(profile, specs), predict(slow, specs)

    assert after.seconds >= before.seconds * (1 - 1e-9)
    assert after.high_s >= before.high_s * (1 - 1e-9)


@given(profile=profiles, specs=works)
def test_the_range_contains_the_expected_time(profile: StepProfile, specs: list) -> None:
    prediction = predict(profile, specs)

    assert prediction.low_s <= prediction.seconds * (1 + 1e-9)
    assert prediction.seconds <= prediction.high_s * (1 + 1e-9)
    assert prediction.epoch_end_s[-1] == prediction.seconds


@given(profile=profiles, specs=works, replicas=st.integers(1, 64))
def test_perfect_scaling_costs_no_less_than_one_device(profile, specs, replicas) -> None:
    prediction = predict(profile, specs)

    scaled = ideal_scaling(profile, prediction, replicas)

    assert scaled.seconds <= prediction.seconds * (1 + 1e-9)
    assert scaled.seconds * replicas >= prediction.seconds * (1 - 1e-9)
    assert scaled.low_s == scaled.seconds == scaled.high_s


@given(profile=profiles)
def test_a_profile_round_trips(profile: StepProfile) -> None:
    assert StepProfile.from_dict(profile.to_dict()) == profile


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("0.01:32x1", (32,)),
        ("0.01:16x1, 0.01:64x9, 0.01:32x1, 0.01:512x1 @10", (16, 64, 512)),
        ("0.01:512x5, 0.01:64x1, 0.01:32x1 @10", (32, 512)),
        ("on_plateau 0.01:32x30 max=512", (32,)),
    ],
)
def test_profiled_batch_sizes(text: str, sizes: tuple[int, ...]) -> None:
    assert batch_sizes_to_profile(known_epochs(parse_schedule(text), 10_000)) == sizes
