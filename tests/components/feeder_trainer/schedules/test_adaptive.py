"""Properties shared by all adaptive policies."""

import json
import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.components.feeder_trainer.schedules.adaptive_training import (
    NUM_EXAMPLES,
    batches,
    make_result,
    train,
)
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.schedules import (
    GradientNoiseScale,
    IncreaseBatchOnPlateau,
)
from tfx_feeder.components.feeder_trainer.schedules.policy import Policy, make_plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec, Phase

RELAXED = settings(deadline=None, max_examples=50)


starts = st.builds(
    Phase,
    st.floats(1e-3, 1),
    st.integers(1, 64),
    st.one_of(
        st.integers(1, 30).map("{}ep".format),
        st.integers(1, 500).map("{}steps".format),
        st.integers(1, 20_000).map("{}ex".format),
    ),
)


@st.composite
def adaptive_policies(draw: st.DrawFn) -> IncreaseBatchOnPlateau | GradientNoiseScale:
    start = draw(starts)
    largest = draw(st.integers(start.batch_size, 2000))
    shared = {
        "factor": draw(st.integers(2, 5)),
        "patience": draw(st.integers(1, 3)),
        "steps_per_epoch": draw(st.none() | st.integers(1, 50)),
    }
    if draw(st.booleans()):
        return IncreaseBatchOnPlateau(
            start, largest, optimizer=draw(st.sampled_from(["sgd", "adam"])), **shared
        )
    smallest = draw(st.integers(1, start.batch_size))
    return GradientNoiseScale(
        start, smallest, largest, mode=draw(st.sampled_from(["report", "apply"])), **shared
    )


observations = st.builds(
    lambda loss, noise, bound, speed: {
        "metrics": {"val_loss": loss},
        "noise_scale": noise,
        "input_bound": bound,
        "examples_per_s": speed,
    },
    st.floats(0, 1) | st.just(math.nan),
    st.none() | st.floats(-10, 1e5) | st.sampled_from([math.nan, math.inf]),
    st.booleans(),
    st.floats(1, 1e6),
)
histories = st.lists(observations, min_size=1, max_size=20)


def bounds(policy: IncreaseBatchOnPlateau | GradientNoiseScale) -> tuple[int, int]:
    if isinstance(policy, GradientNoiseScale):
        return policy.min, policy.max
    return policy.start.batch_size, policy.max_batch_size


@RELAXED
@given(policy=adaptive_policies(), history=histories)
def test_epochs_tile_the_stream_within_bounds(
    policy: IncreaseBatchOnPlateau | GradientNoiseScale, history: list[dict[str, Any]]
) -> None:
    plan = make_plan(policy, NUM_EXAMPLES)
    epochs = train(plan, lambda spec: history[spec.epoch % len(history)])
    specs = [spec for spec, _ in epochs]
    smallest, largest = bounds(policy)

    assert specs[0].start == 0
    assert [spec.epoch for spec in specs] == list(range(len(specs)))
    assert all(smallest <= batch <= min(largest, NUM_EXAMPLES) for batch in batches(epochs))
    for (before, decided), (after, _) in pairwise(epochs):
        assert before.stop == after.start
        began = any(decision.kind == "phase" for decision in decided)
        assert after.phase == before.phase + began
        changed = (before.batch_size, before.learning_rate) != (
            after.batch_size,
            after.learning_rate,
        )
        assert changed == began


@RELAXED
@given(policy=adaptive_policies(), history=histories)
def test_the_training_has_the_requested_length(
    policy: IncreaseBatchOnPlateau | GradientNoiseScale, history: list[dict[str, Any]]
) -> None:
    plan = make_plan(policy, NUM_EXAMPLES)
    epochs = train(plan, lambda spec: history[spec.epoch % len(history)])
    length = policy.start.length
    steps = policy.steps_per_epoch

    if length.unit == "ep":
        assert len(epochs) == length.amount == plan.total_epochs
        for spec, _ in epochs:
            assert spec.examples == (steps * spec.batch_size if steps else NUM_EXAMPLES)
    elif length.unit == "ex":
        assert sum(spec.examples for spec, _ in epochs) == length.amount
    else:
        trained = sum(spec.examples / spec.batch_size for spec, _ in epochs)
        changes = len({spec.phase for spec, _ in epochs})
        assert length.amount - changes < trained <= length.amount + 1e-6
    assert plan.total_epochs in (None, len(epochs))


@RELAXED
@given(policy=adaptive_policies(), history=histories, at=st.integers(0, 20))
def test_resumes_from_its_state(
    policy: IncreaseBatchOnPlateau | GradientNoiseScale, history: list[dict[str, Any]], at: int
) -> None:
    def observe(spec: EpochSpec) -> dict[str, Any]:
        return history[spec.epoch % len(history)]

    whole = train(make_plan(policy, NUM_EXAMPLES), observe)
    plan = make_plan(policy, NUM_EXAMPLES)
    for spec, _ in whole[:at]:
        plan.advance(make_result(spec, **observe(spec)))

    resumed = make_plan(policy, NUM_EXAMPLES)
    resumed.restore(json.loads(json.dumps(plan.state())))

    assert train(resumed, observe) == whole[at:]


@RELAXED
@given(policy=adaptive_policies(), history=histories)
def test_epochs_of_the_phase_are_fixed(
    policy: IncreaseBatchOnPlateau | GradientNoiseScale, history: list[dict[str, Any]]
) -> None:
    plan = make_plan(policy, NUM_EXAMPLES)
    while promised := plan.current_phase_epochs():
        for spec in promised:
            assert plan.current_phase_epochs()[0] == spec
            plan.advance(make_result(spec, **history[spec.epoch % len(history)]))


@pytest.mark.parametrize(
    "policy",
    [IncreaseBatchOnPlateau((0.01, 32, 9), 512), GradientNoiseScale((0.01, 32, 9), 16, 512)],
    ids=lambda policy: policy.NAME,
)
def test_a_batch_larger_than_the_data_is_rejected(policy: Policy) -> None:
    with pytest.raises(ConfigError, match="at most the 31 examples"):
        make_plan(policy, 31)
