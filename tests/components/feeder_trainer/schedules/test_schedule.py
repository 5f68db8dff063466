"""Schedules: notations, epochs and rejected values."""

import json
import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.schedules.length import Length
from tfx_feeder.components.feeder_trainer.schedules.schedule import Phase, Schedule

NUM_EXAMPLES = 64


def _lengths(largest: int) -> st.SearchStrategy[Length]:
    units = st.sampled_from(["ep", "steps", "ex"])
    return st.builds(Length, st.integers(1, largest), units)


rates = st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False)
phases = st.builds(Phase, rates, st.integers(1, NUM_EXAMPLES), _lengths(20))
schedules = st.builds(
    Schedule,
    st.lists(phases, min_size=1, max_size=4).map(tuple),
    st.none() | st.integers(1, 10),
)


@given(schedules)
def test_every_notation_round_trips_exactly(schedule: Schedule) -> None:
    tuples = [(p.learning_rate, p.batch_size, str(p.length)) for p in schedule.phases]

    assert Schedule.from_value(schedule) is schedule
    assert Schedule.from_value(str(schedule)) == schedule
    assert Schedule.from_value(schedule.to_dict()) == schedule
    assert Schedule.from_value(json.dumps(schedule.to_dict())) == schedule
    assert Schedule(tuples, schedule.steps_per_epoch) == schedule


@given(schedules)
def test_epochs_tile_the_stream(schedule: Schedule) -> None:
    specs = list(schedule.epoch_specs(NUM_EXAMPLES))

    assert specs[0].start == 0
    assert all(before.stop == after.start for before, after in pairwise(specs))
    assert [spec.epoch for spec in specs] == list(range(len(specs)))
    assert sorted({s.phase for s in specs}) == list(range(len(schedule.phases)))
    assert [s.phase for s in specs] == sorted(s.phase for s in specs)


@given(schedules)
def test_epochs_are_as_long_as_their_phase_says(schedule: Schedule) -> None:
    specs = list(schedule.epoch_specs(NUM_EXAMPLES))

    for index, phase in enumerate(schedule.phases):
        own = [spec for spec in specs if spec.phase == index]
        steps = schedule.steps_per_epoch
        full = NUM_EXAMPLES if steps is None else steps * phase.batch_size
        factor = {"ep": full, "steps": phase.batch_size, "ex": 1}[phase.length.unit]
        assert sum(spec.examples for spec in own) == phase.length.amount * factor
        assert all(spec.examples == full for spec in own[:-1])
        assert 0 < own[-1].examples <= full
        for spec in own:
            assert spec.learning_rate == phase.learning_rate
            assert spec.batch_size == phase.batch_size
            assert spec.steps == math.ceil(spec.examples / spec.batch_size)


def test_the_reference_schedule() -> None:
    schedule = Schedule.from_value("0.01:32x10, 0.005:64x10, 0.0025:128x10 @200")

    specs = list(schedule.epoch_specs(num_examples=50_000))

    assert len(specs) == 30
    assert all(spec.steps == 200 for spec in specs)
    assert specs[-1].stop == 200 * 10 * (32 + 64 + 128)


def test_without_steps_per_epoch_the_last_batch_is_partial() -> None:
    (spec,) = Schedule([(0.1, 32, 1)]).epoch_specs(num_examples=100)

    assert (spec.examples, spec.steps) == (100, 4)


@pytest.mark.parametrize(
    ("value", "argument"),
    [
        ("0:32x10", "learning_rate"),
        ("-0.1:32x10", "learning_rate"),
        ("1e999:32x10", "learning_rate"),
        ("0.1:0x10", "batch_size"),
        ("0.1:-32x10", "batch_size"),
        ("0.1:32x0", "length"),
        ("0.1:32x-1", "length"),
        ("0.1:32x10 @0", "steps_per_epoch"),
        ([(math.nan, 32, 10)], "learning_rate"),
        ([("0.1", 32, 10)], "learning_rate"),
        ([(True, 32, 10)], "learning_rate"),
        ([(0.1, 32.0, 10)], "batch_size"),
        ([(0.1, 32, None)], "length"),
        ([], "schedule"),
        ([(0.1, 32)], "schedule phase"),
        (["0.1:32x10"], "schedule phase"),
        ([{"learning_rate": 0.1, "batch_size": 32}], "schedule phase"),
        ([{"learning_rate": 0.1, "batch_size": 32, "epochs": 3}], "schedule phase"),
        ({"phases": [(0.1, 32, 1)], "steps": 3}, "schedule"),
        ({"steps_per_epoch": 3}, "schedule"),
        ({"phases": 3}, "schedule"),
        ({"phases": [(0.1, 32, 1)], "steps_per_epoch": 2.5}, "steps_per_epoch"),
        ('{"phases": [', "schedule"),
        (None, "schedule"),
        (0.1, "schedule"),
    ],
)
def test_a_bad_schedule_names_its_argument(value: Any, argument: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Schedule.from_value(value)

    assert caught.value.argument == argument
    assert caught.value.expected
    assert "Received: " in str(caught.value)


def test_a_batch_larger_than_the_data_is_rejected_with_its_phase() -> None:
    schedule = Schedule.from_value("0.1:32x1, 0.05:128x1")

    with pytest.raises(ConfigError, match=r"phase 2 \(0.05:128x1ep\).*at most the 100 examples"):
        list(schedule.epoch_specs(num_examples=100))


def test_a_batch_smaller_than_the_replicas_is_rejected() -> None:
    with pytest.raises(ConfigError, match="at least one example for each of 4 replicas"):
        Schedule.from_value("0.1:2x1").validate(num_examples=100, replicas=4)


def test_a_schedule_cannot_be_changed() -> None:
    schedule = Schedule([[0.1, 32, 1]])

    assert isinstance(schedule.phases, tuple)
    with pytest.raises(AttributeError):
        schedule.steps_per_epoch = 3  # type: ignore[misc]
