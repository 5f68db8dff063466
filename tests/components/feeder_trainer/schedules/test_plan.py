"""Static plans run the epochs of a schedule in order, across restarts."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.schedules.plan import EpochResult, Plan, StaticPlan
from tfx_feeder.components.feeder_trainer.schedules.policy import make_plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec, Schedule

NUM_EXAMPLES = 100
SCHEDULE = Schedule.from_value("0.01:32x2, 0.005:64x150ex, 0.0025:100x1")


def run(plan: Plan) -> list[tuple[EpochSpec, list[str]]]:
    """Trains to the end; returns each epoch and the kinds of what was decided after it."""
    trained = []
    while epochs_left := plan.current_phase_epochs():
        spec = epochs_left[0]
        decisions = plan.advance(EpochResult(spec, spec.learning_rate, {"loss": 1.0}))
        trained.append((spec, [decision.kind for decision in decisions]))
    return trained


def test_executes_the_epochs_of_the_schedule() -> None:
    plan = make_plan(SCHEDULE, NUM_EXAMPLES)

    assert [spec for spec, _ in run(plan)] == list(SCHEDULE.epoch_specs(NUM_EXAMPLES))
    assert plan.total_epochs == 5
    assert (plan.policy, plan.needs_noise_scale) == ("schedule", False)


def test_returns_the_remaining_epochs_of_the_phase() -> None:
    plan = make_plan(SCHEDULE, NUM_EXAMPLES)

    lengths = []
    while epochs_left := plan.current_phase_epochs():
        lengths.append([spec.epoch for spec in epochs_left])
        plan.advance(EpochResult(epochs_left[0], 0.01, {}))
    assert lengths == [[0, 1], [1], [2, 3], [3], [4]]


def test_reports_the_start_of_a_phase() -> None:
    kinds = [kinds for _, kinds in run(make_plan(SCHEDULE, NUM_EXAMPLES))]

    assert kinds == [[], ["phase"], [], ["phase"], []]


@given(done=st.integers(0, 5))
def test_resumes_from_its_state(done: int) -> None:
    whole = run(make_plan(SCHEDULE, NUM_EXAMPLES))
    plan = make_plan(SCHEDULE, NUM_EXAMPLES)
    for spec, _ in whole[:done]:
        plan.advance(EpochResult(spec, 0.01, {}))

    resumed = make_plan(SCHEDULE, NUM_EXAMPLES)
    resumed.restore(json.loads(json.dumps(plan.state())))

    assert run(resumed) == whole[done:]


def test_rejects_an_epoch_out_of_order() -> None:
    plan = StaticPlan(SCHEDULE, NUM_EXAMPLES)
    second = plan.current_phase_epochs()[1]

    with pytest.raises(ValueError, match="Expected EpochSpec"):
        plan.advance(EpochResult(second, 0.01, {}))
    with pytest.raises(ValueError, match="Expected EpochSpec"):
        plan.advance(EpochResult(replace(second, epoch=0), 0.01, {}))
    run(plan)
    with pytest.raises(ValueError, match="no further epoch"):
        plan.advance(EpochResult(second, 0.01, {}))


def test_rejects_a_batch_larger_than_the_data() -> None:
    with pytest.raises(ConfigError, match="at most the 99 examples"):
        make_plan(SCHEDULE, 99)
