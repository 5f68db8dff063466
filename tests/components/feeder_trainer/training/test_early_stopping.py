"""A run is stopped when it can no longer match the base model, and never before."""

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import epoch_record
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule
from tfx_feeder.components.feeder_trainer.schedules.policy import make_plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec, Schedule
from tfx_feeder.components.feeder_trainer.training.early_stopping import (
    BaselineEarlyStopping,
    attainable_upper_bound,
    should_stop,
)
from tfx_feeder.schemas.training_history import EpochRecord

OPTIONS = BaselineEarlyStopping("val_accuracy", "max", after_epochs=3)
ONE_PHASE = "0.01:10x20"
THREE_PHASES = "0.01:10x4, 0.005:10x8, 0.001:10x8"


def epochs(schedule: str) -> list[EpochSpec]:
    remaining = make_plan(Schedule.from_value(schedule), num_examples=100).remaining_epochs()
    assert remaining is not None
    return remaining


def rows(segments: Sequence[EpochSpec], values: Sequence[float]) -> list[EpochRecord]:
    return [
        epoch_record(
            segment.epoch,
            phase=segment.phase,
            examples=segment.examples,
            metrics={"val_accuracy": value, "val_loss": -value},
        )
        for segment, value in zip(segments, values, strict=False)
    ]


def stop_reason(
    values: Sequence[float],
    baseline: float,
    schedule: str = ONE_PHASE,
    options: BaselineEarlyStopping = OPTIONS,
) -> str | None:
    segments = epochs(schedule)
    return should_stop(options, baseline, rows(segments, values), segments[len(values) :])


def stopped_after(
    values: Sequence[float],
    baseline: float,
    schedule: str = ONE_PHASE,
    options: BaselineEarlyStopping = OPTIONS,
) -> int | None:
    """Returns after how many epochs a run with this curve is stopped."""
    numbers = range(1, len(values) + 1)
    return next((n for n in numbers if stop_reason(values[:n], baseline, schedule, options)), None)


gains = st.lists(st.floats(0, 0.2), min_size=20, max_size=20)


@given(begin=st.floats(0, 1), first=gains, later=gains, baseline=st.floats(0, 3))
@pytest.mark.parametrize("schedule", [ONE_PHASE, THREE_PHASES])
def test_a_curve_that_flattens_and_matches_is_never_stopped(
    schedule, begin, first, later, baseline
):
    """Within a phase gains fall, and no phase gains more, epoch by epoch, than the one before."""
    segments = epochs(schedule)
    first, later = (sorted(some, reverse=True) for some in (first, later))
    curve, value = [], begin
    for phase, group in itertools.groupby(segments, key=lambda segment: segment.phase):
        shrunk = 1.0 if phase < 2 else 0.7
        for gain, _ in zip(later if phase else first, group, strict=False):
            value += shrunk * gain
            curve.append(value)
    if max(curve) >= baseline:
        assert stopped_after(curve, baseline, schedule) is None


@given(
    values=st.lists(st.floats(0, 1), min_size=3, max_size=19),
    baseline=st.floats(0, 1),
    tolerance=st.floats(0, 0.2),
)
def test_what_is_in_reach_of_the_bound_goes_on(values, baseline, tolerance):
    segments = epochs(ONE_PHASE)
    done, remaining = segments[: len(values)], segments[len(values) :]
    bound = attainable_upper_bound(values, done, remaining, window=3)
    assert bound >= max(values)
    options = BaselineEarlyStopping("val_accuracy", "max", after_epochs=3, tolerance=tolerance)
    if bound >= baseline - tolerance:
        assert stop_reason(values, baseline, options=options) is None
    elif bound < baseline - tolerance - 1e-6:
        assert stop_reason(values, baseline, options=options)


def test_a_flat_curve_below_is_stopped_at_the_first_check():
    assert stopped_after([0.81] * 20, baseline=0.87) == 3
    later = BaselineEarlyStopping("val_accuracy", "max", after_epochs=5)
    assert stopped_after([0.81] * 20, baseline=0.87, options=later) == 5


def test_a_flat_curve_above_or_at_the_mark_is_not_stopped():
    assert stopped_after([0.87] * 20, baseline=0.87) is None
    within = BaselineEarlyStopping("val_accuracy", "max", tolerance=0.02)
    assert stopped_after([0.86] * 20, baseline=0.87, options=within) is None


def test_a_curve_that_creeps_is_stopped_when_the_rest_is_too_short():
    curve = [0.5 + 0.01 * epoch for epoch in range(20)]
    stopped = stopped_after(curve, baseline=0.75)
    assert stopped == 3
    # The curve ends at 0.69, the highest baseline that it can still match.
    assert stopped_after(curve, baseline=0.69) is None


def test_the_sentence_has_the_numbers():
    assert stop_reason([0.80, 0.81, 0.805], baseline=1.0) == (
        "Stopped early: val_accuracy is 0.81 after 3 epochs and can reach at most 0.98 in the "
        "remaining 17 epochs; the base model requires 1."
    )


def test_a_loss_is_better_when_it_is_lower():
    options = BaselineEarlyStopping("val_loss", "min")
    assert stop_reason([-0.5] * 3, baseline=0.4, options=options)  # A loss of 0.5.
    assert stop_reason([-0.3] * 3, baseline=0.4, options=options) is None


def test_before_a_change_of_phase_was_seen_nothing_is_stopped():
    """A lower rate can lift a curve that has been flat: how much, only the first change shows."""
    assert stopped_after([0.5] * 20, 0.9, THREE_PHASES) == 5
    lifted = [0.5] * 4 + [0.8] * 8 + [0.9] * 8
    assert stopped_after(lifted, 0.9, THREE_PHASES) is None


def test_the_last_phase_needs_no_allowance_for_later_ones():
    curve = [0.5] * 4 + [0.8] * 8 + [0.82] * 8
    assert stopped_after(curve, 1.15, THREE_PHASES) == 8  # 0.8, and 0.3 for the last change.
    assert stopped_after(curve, 0.9, THREE_PHASES) == 16


def test_epochs_of_more_examples_may_bring_more():
    doubled = "0.01:10x2, 0.01:10x4, 0.01:20x4 @10"
    curve = [0.1, 0.1, 0.1, 0.1, 0.11, 0.12]
    segments = epochs(doubled)
    assert attainable_upper_bound(curve, segments[:6], segments[6:], window=2) == pytest.approx(
        0.12 + 0.01 * 2 * 4 + 0.02
    )


def test_nothing_is_stopped_without_a_bound():
    assert stop_reason([0.1, 0.1], baseline=0.9) is None  # Too early.
    assert stop_reason([0.1] * 20, baseline=0.9) is None  # It is over.
    assert stop_reason([0.1, math.nan, 0.1], baseline=0.9) is None
    assert should_stop(OPTIONS, 0.9, rows(epochs(ONE_PHASE), [0.1] * 3), None) is None


@pytest.mark.parametrize(
    ("policy", "known"),
    [
        ("on_plateau 0.01:10x20 max=20", False),
        ("noise_scale 0.01:10x20 min=10 max=20 mode=apply", False),
        ("noise_scale 0.01:10x20 min=10 max=20 mode=report", True),
        ("decay_to_batch 0.01:10x20 max=40", True),
    ],
)
def test_a_policy_knows_the_remaining_epochs_unless_it_decides_during_training(policy, known):
    plan = make_plan(parse_schedule(policy), num_examples=100)
    remaining = plan.remaining_epochs()
    assert (remaining is not None) == known
    assert remaining is None or remaining[0] == plan.current_phase_epochs()[0]
    assert remaining is None or len(remaining) == plan.total_epochs


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("monitor", "accuracy"),
        ("monitor", None),
        ("mode", "auto"),
        ("after_epochs", 1),
        ("after_epochs", 2.5),
        ("tolerance", -0.1),
        ("tolerance", math.inf),
    ],
)
def test_a_value_out_of_range_is_named(name, value):
    with pytest.raises(ConfigError, match=f"early_stopping {name}: expected"):
        BaselineEarlyStopping(**{"monitor": "val_loss", "mode": "min", name: value})
