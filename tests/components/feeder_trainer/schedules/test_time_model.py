"""A prediction adds up, grows with the steps, and knows where it was not measured."""

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

PROBE = StepProfile(
    2.0, {32: StepTime(0.01, 0.001, 20), 128: StepTime(0.03, 0.002, 20)}, eval_s=0.5
)

times = st.builds(StepTime, st.floats(1e-4, 10.0), st.floats(0.0, 1.0), st.integers(5, 100))
probes = st.builds(
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
    segments = list(Schedule.from_value("0.01:32x2, 0.005:128x1 @10").epoch_specs(10_000))

    prediction = predict(PROBE, segments)

    assert prediction.seconds == pytest.approx(2.0 + 20 * 0.01 + 10 * 0.03 + 3 * 0.5)
    assert prediction.low_s == pytest.approx(prediction.seconds - 20 * 0.001 - 10 * 0.002)
    assert prediction.high_s == pytest.approx(prediction.seconds + 20 * 0.001 + 10 * 0.002)
    assert prediction.epoch_end_s == pytest.approx((2.6, 3.2, 4.0))
    assert [prediction.fraction_elapsed(n) for n in (0, 2, 3, 9)] == pytest.approx([0, 0.8, 1, 1])


def test_the_feed_is_opened_for_every_phase() -> None:
    segments = list(Schedule.from_value("0.01:32x2, 0.005:128x1 @10").epoch_specs(10_000))

    more = predict(dataclasses.replace(PROBE, open_s=0.25), segments).seconds

    assert more == pytest.approx(predict(PROBE, segments).seconds + 2 * 0.25)


def test_between_two_sizes_it_interpolates_and_is_less_sure() -> None:
    exact = predict(dataclasses.replace(PROBE, start_s=0.0, eval_s=0.0), of_one_batch(32))
    between = predict(dataclasses.replace(PROBE, start_s=0.0, eval_s=0.0), of_one_batch(80))

    assert between.seconds == pytest.approx(0.02)
    assert between.high_s - between.low_s > 2 * (exact.high_s - exact.low_s)


@pytest.mark.parametrize(("size", "low", "high"), [(16, 0.009 / 2, 0.011), (256, 0.028, 0.064)])
def test_beyond_what_was_probed_the_fixed_cost_is_unknown(
    size: int, low: float, high: float
) -> None:
    prediction = predict(dataclasses.replace(PROBE, start_s=0.0, eval_s=0.0), of_one_batch(size))

    assert (prediction.low_s, prediction.high_s) == pytest.approx((low, high))
    assert low < prediction.seconds < high


def test_a_partial_batch_is_a_step_of_its_size_or_left_out() -> None:
    segments = list(Schedule.from_value("0.01:32x1").epoch_specs(num_examples=112))  # 3.5 batches

    whole = predict(PROBE, segments, drop_remainder=True)

    assert whole.seconds == pytest.approx(2.5 + 3 * 0.01)
    assert whole.seconds < predict(PROBE, segments).seconds <= 2.5 + 4 * 0.01


@given(probe=probes, segments=works, cut=st.integers(0, 20))
def test_it_is_additive_over_segments(probe: StepProfile, segments: list, cut: int) -> None:
    first, second = predict(probe, segments[:cut]), predict(probe, segments[cut:])
    whole = predict(probe, segments)
    goes_on = 0 < cut < len(segments) and segments[cut - 1].phase == segments[cut].phase
    # Each part has a start of its own, and the second opens the feed again within a phase.
    twice_s = probe.start_s + goes_on * probe.open_s

    for name in ("seconds", "low_s", "high_s"):
        parts = getattr(first, name) + getattr(second, name) - twice_s
        assert getattr(whole, name) == pytest.approx(parts)


@given(probe=probes, segments=works, slower=st.floats(1.0, 3.0), data=st.data())
def test_it_never_falls_when_a_step_takes_longer(probe, segments, slower, data) -> None:
    size = data.draw(st.sampled_from(sorted(probe.step_s)))
    time = dataclasses.replace(probe.step_s[size], median_s=probe.step_s[size].median_s * slower)
    slow = dataclasses.replace(probe, step_s={**probe.step_s, size: time})

    before, after = predict(probe, segments), predict(slow, segments)

    assert after.seconds >= before.seconds * (1 - 1e-9)
    assert after.high_s >= before.high_s * (1 - 1e-9)


@given(probe=probes, segments=works)
def test_the_range_holds_what_is_expected(probe: StepProfile, segments: list) -> None:
    prediction = predict(probe, segments)

    assert prediction.low_s <= prediction.seconds * (1 + 1e-9)
    assert prediction.seconds <= prediction.high_s * (1 + 1e-9)
    assert prediction.epoch_end_s[-1] == prediction.seconds


@given(probe=probes, segments=works, replicas=st.integers(1, 64))
def test_perfect_scaling_costs_no_less_than_one_device(probe, segments, replicas) -> None:
    prediction = predict(probe, segments)

    scaled = ideal_scaling(probe, prediction, replicas)

    assert scaled.seconds <= prediction.seconds * (1 + 1e-9)
    assert scaled.seconds * replicas >= prediction.seconds * (1 - 1e-9)
    assert scaled.low_s == scaled.seconds == scaled.high_s


@given(probe=probes)
def test_a_probe_round_trips(probe: StepProfile) -> None:
    assert StepProfile.from_dict(probe.to_dict()) == probe


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("0.01:32x1", (32,)),
        ("0.01:16x1, 0.01:64x9, 0.01:32x1, 0.01:512x1 @10", (16, 64, 512)),
        ("0.01:512x5, 0.01:64x1, 0.01:32x1 @10", (32, 512)),
        ("on_plateau 0.01:32x30 max=512", (32,)),
    ],
)
def test_which_sizes_are_probed(text: str, sizes: tuple[int, ...]) -> None:
    assert batch_sizes_to_profile(known_epochs(parse_schedule(text), 10_000)) == sizes
