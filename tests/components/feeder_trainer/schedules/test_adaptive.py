"""Policies that decide while training, whichever it is."""

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
    feedback,
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
        start, smallest, largest, mode=draw(st.sampled_from(["advise", "act"])), **shared
    )


observations = st.builds(
    lambda loss, noise, bound: {
        "metrics": {"val_loss": loss},
        "noise_scale": noise,
        "input_bound": bound,
    },
    st.floats(0, 1) | st.just(math.nan),
    st.none() | st.floats(-10, 1e5) | st.sampled_from([math.nan, math.inf]),
    st.booleans(),
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
    epochs = train(plan, lambda segment: history[segment.epoch % len(history)])
    segments = [segment for segment, _ in epochs]
    smallest, largest = bounds(policy)

    assert segments[0].start == 0
    assert [segment.epoch for segment in segments] == list(range(len(segments)))
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
        if after.batch_size > before.batch_size:
            assert not history[before.epoch % len(history)]["input_bound"]


@RELAXED
@given(policy=adaptive_policies(), history=histories)
def test_the_length_is_what_was_asked_for(
    policy: IncreaseBatchOnPlateau | GradientNoiseScale, history: list[dict[str, Any]]
) -> None:
    plan = make_plan(policy, NUM_EXAMPLES)
    epochs = train(plan, lambda segment: history[segment.epoch % len(history)])
    length = policy.start.length
    steps = policy.steps_per_epoch

    if length.unit == "ep":
        assert len(epochs) == length.amount == plan.total_epochs
        for segment, _ in epochs:
            assert segment.examples == (steps * segment.batch_size if steps else NUM_EXAMPLES)
    elif length.unit == "ex":
        assert sum(segment.examples for segment, _ in epochs) == length.amount
    else:
        trained = sum(segment.examples / segment.batch_size for segment, _ in epochs)
        changes = len({segment.phase for segment, _ in epochs})
        assert length.amount - changes < trained <= length.amount + 1e-6
    assert plan.total_epochs in (None, len(epochs))


@RELAXED
@given(policy=adaptive_policies(), history=histories, at=st.integers(0, 20))
def test_goes_on_from_its_state(
    policy: IncreaseBatchOnPlateau | GradientNoiseScale, history: list[dict[str, Any]], at: int
) -> None:
    def seen(segment: EpochSpec) -> dict[str, Any]:
        return history[segment.epoch % len(history)]

    whole = train(make_plan(policy, NUM_EXAMPLES), seen)
    plan = make_plan(policy, NUM_EXAMPLES)
    for segment, _ in whole[:at]:
        plan.advance(feedback(segment, **seen(segment)))

    resumed = make_plan(policy, NUM_EXAMPLES)
    resumed.restore(json.loads(json.dumps(plan.state())))

    assert train(resumed, seen) == whole[at:]


@RELAXED
@given(policy=adaptive_policies(), history=histories)
def test_upcoming_epochs_are_certain(
    policy: IncreaseBatchOnPlateau | GradientNoiseScale, history: list[dict[str, Any]]
) -> None:
    plan = make_plan(policy, NUM_EXAMPLES)
    while promised := plan.current_phase_epochs():
        for segment in promised:
            assert plan.current_phase_epochs()[0] == segment
            plan.advance(feedback(segment, **history[segment.epoch % len(history)]))


@pytest.mark.parametrize(
    "policy",
    [IncreaseBatchOnPlateau((0.01, 32, 9), 512), GradientNoiseScale((0.01, 32, 9), 16, 512)],
    ids=lambda policy: policy.NAME,
)
def test_a_batch_larger_than_the_data_is_refused(policy: Policy) -> None:
    with pytest.raises(ConfigError, match="at most the 31 examples"):
        make_plan(policy, 31)
