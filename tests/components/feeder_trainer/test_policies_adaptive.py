"""Policies that decide while training: when they change the batch, when not, and why."""

import json
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import keras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_feeder.components.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.plan import Decision, Feedback, Plan, make_plan
from tfx_feeder.components.feeder_trainer.policies import NoiseScale, OnPlateau
from tfx_feeder.components.feeder_trainer.policies.base import BasePolicy
from tfx_feeder.components.feeder_trainer.schedule import Phase, Segment

NUM_EXAMPLES = 1000
RELAXED = settings(deadline=None, max_examples=50)


def feedback(segment: Segment, **seen: Any) -> Feedback:
    return Feedback(segment, **({"learning_rate": segment.learning_rate, "metrics": {}} | seen))


def train(
    plan: Plan, seen: Callable[[Segment], dict[str, Any]]
) -> list[tuple[Segment, list[Decision]]]:
    """Trains to the end; ``seen`` makes the feedback of each epoch."""
    epochs = []
    while upcoming := plan.upcoming():
        segment = upcoming[0]
        epochs.append((segment, plan.advance(feedback(segment, **seen(segment)))))
    return epochs


def losses(values: Sequence[float], **also: Any) -> Callable[[Segment], dict[str, Any]]:
    return lambda segment: {"metrics": {"val_loss": values[segment.epoch]}} | also


def batches(epochs: list[tuple[Segment, list[Decision]]]) -> list[int]:
    return [segment.batch_size for segment, _ in epochs]


def decisions(epochs: list[tuple[Segment, list[Decision]]]) -> list[Decision]:
    return [decision for _, decided in epochs for decision in decided]


# --- whatever the policy ------------------------------------------------------------------------

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
def adaptive_policies(draw: st.DrawFn) -> OnPlateau | NoiseScale:
    start = draw(starts)
    largest = draw(st.integers(start.batch_size, 2000))
    shared = {
        "factor": draw(st.integers(2, 5)),
        "patience": draw(st.integers(1, 3)),
        "steps_per_epoch": draw(st.none() | st.integers(1, 50)),
    }
    if draw(st.booleans()):
        return OnPlateau(start, largest, optimizer=draw(st.sampled_from(["sgd", "adam"])), **shared)
    smallest = draw(st.integers(1, start.batch_size))
    return NoiseScale(
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


def bounds(policy: OnPlateau | NoiseScale) -> tuple[int, int]:
    if isinstance(policy, NoiseScale):
        return policy.min, policy.max
    return policy.start.batch_size, policy.max_batch_size


@RELAXED
@given(policy=adaptive_policies(), history=histories)
def test_epochs_tile_the_stream_within_bounds(
    policy: OnPlateau | NoiseScale, history: list[dict[str, Any]]
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
    policy: OnPlateau | NoiseScale, history: list[dict[str, Any]]
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
    policy: OnPlateau | NoiseScale, history: list[dict[str, Any]], at: int
) -> None:
    def seen(segment: Segment) -> dict[str, Any]:
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
    policy: OnPlateau | NoiseScale, history: list[dict[str, Any]]
) -> None:
    plan = make_plan(policy, NUM_EXAMPLES)
    while promised := plan.upcoming():
        for segment in promised:
            assert plan.upcoming()[0] == segment
            plan.advance(feedback(segment, **history[segment.epoch % len(history)]))


@pytest.mark.parametrize(
    "policy",
    [OnPlateau((0.01, 32, 9), 512), NoiseScale((0.01, 32, 9), 16, 512)],
    ids=lambda policy: policy.NAME,
)
def test_a_batch_larger_than_the_data_is_refused(policy: BasePolicy) -> None:
    with pytest.raises(ConfigError, match="at most the 31 examples"):
        make_plan(policy, 31)


# --- OnPlateau ----------------------------------------------------------------------------------


def test_grows_the_batch_up_to_its_bound_and_cuts_the_rate_from_there() -> None:
    policy = OnPlateau((0.01, 32, 9), max_batch_size=100, patience=2)
    epochs = train(make_plan(policy, NUM_EXAMPLES), losses([1.0] * 9))

    assert batches(epochs) == [32, 32, 32, 64, 64, 100, 100, 100, 100]
    rates = [segment.learning_rate for segment, _ in epochs]
    # 64 to 100 is less than a factor of 2: the rate takes the rest of it.
    assert rates[::2] == pytest.approx([0.01, 0.01, 0.01, 0.0078125, 0.00390625])
    assert decisions(epochs)[0] == Decision(
        "phase", "val_loss no better than 1 for 2 epochs: batch 32 → 64"
    )


def test_adam_divides_the_rate_by_the_root_of_the_factor() -> None:
    policy = OnPlateau((0.01, 32, 3), max_batch_size=512, patience=1, optimizer="adam")
    epochs = train(make_plan(policy, NUM_EXAMPLES), losses([1.0] * 3))

    assert epochs[-1][0].batch_size == 64
    assert epochs[-1][0].learning_rate == pytest.approx(0.01 / math.sqrt(2))


def test_keeps_the_batch_while_input_bound_and_says_so() -> None:
    policy = OnPlateau((0.01, 32, 5), max_batch_size=512, patience=2)
    epochs = train(make_plan(policy, NUM_EXAMPLES), losses([1.0] * 5, input_bound=True))

    assert batches(epochs) == [32] * 5
    assert [decision.kind for decision in decisions(epochs)] == ["kept", "kept"]
    assert "waits for its input" in decisions(epochs)[0].reason


def test_builds_on_the_rate_that_a_callback_has_set() -> None:
    policy = OnPlateau((0.01, 32, 3), max_batch_size=32, patience=1)
    epochs = train(make_plan(policy, NUM_EXAMPLES), losses([1.0] * 3, learning_rate=0.004))

    assert epochs[-1][0].learning_rate == pytest.approx(0.002)


def test_says_when_nothing_is_left_to_change() -> None:
    policy = OnPlateau((0.01, 32, 3), max_batch_size=32, patience=1, min_learning_rate=0.01)
    epochs = train(make_plan(policy, NUM_EXAMPLES), losses([1.0] * 3))

    assert [decision.kind for decision in decisions(epochs)] == ["kept", "kept"]


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
def test_knows_which_way_is_better(monitor: str, mode: str, grows: bool) -> None:
    policy = OnPlateau((0.01, 32, 5), 64, monitor=monitor, mode=mode, patience=3)
    epochs = train(
        make_plan(policy, NUM_EXAMPLES), lambda segment: {"metrics": {monitor: segment.epoch}}
    )

    assert (64 in batches(epochs)) == grows


def test_names_the_metrics_there_are_when_the_monitored_one_is_missing() -> None:
    plan = make_plan(OnPlateau((0.01, 32, 4), 64), NUM_EXAMPLES)

    with pytest.raises(ConfigError, match="one of the metrics accuracy, loss"):
        train(plan, lambda segment: {"metrics": {"loss": 1.0, "accuracy": 0.1}})


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

    policy = OnPlateau(
        (0.1, 32, len(values)), 32, patience=patience, min_delta=min_delta, min_learning_rate=0.01
    )
    epochs = train(make_plan(policy, NUM_EXAMPLES), losses(values))

    assert [segment.learning_rate for segment, _ in epochs] == pytest.approx(expected)


# --- NoiseScale ---------------------------------------------------------------------------------


def noise(*values: float | None, **also: Any) -> Callable[[Segment], dict[str, Any]]:
    return lambda segment: {"noise_scale": values[min(segment.epoch, len(values) - 1)]} | also


def test_the_batch_follows_the_noise_scale_within_its_bounds() -> None:
    policy = NoiseScale((0.01, 32, 16), 16, 100, mode="act", lr_rule="linear")
    epochs = train(make_plan(policy, NUM_EXAMPLES), noise(*[900.0] * 8, *[1.0] * 8))

    sizes = batches(epochs)
    assert sizes[:8] == [32, 32, 64, 64, 100, 100, 100, 100]
    assert sizes[-1] == 16
    for segment, _ in epochs:
        assert segment.learning_rate == pytest.approx(0.01 * segment.batch_size / 32)
    assert decisions(epochs)[0].reason == (
        "gradient noise scale 900 examples at a batch of 32: batch 32 → 64, "
        "learning rate 0.01 → 0.02"
    )


def test_it_does_not_flutter_about_one_factor() -> None:
    policy = NoiseScale((0.01, 32, 20), 1, 1000, mode="act", patience=1)
    swinging = [70.0, 40.0] * 10
    epochs = train(make_plan(policy, NUM_EXAMPLES), noise(*swinging))

    assert batches(epochs) == [32] + [64] * 19


def test_one_outlier_changes_nothing() -> None:
    policy = NoiseScale((0.01, 32, 10), 1, 1000, mode="act")
    epochs = train(make_plan(policy, NUM_EXAMPLES), noise(32.0, 200.0, 32.0))

    assert batches(epochs) == [32] * 10


@pytest.mark.parametrize("useless", [None, -5.0, 0.0, math.nan, math.inf])
def test_no_estimate_no_change(useless: float | None) -> None:
    policy = NoiseScale((0.01, 32, 5), 1, 1000, mode="act", patience=1)

    assert batches(train(make_plan(policy, NUM_EXAMPLES), noise(useless))) == [32] * 5


def test_advice_names_the_batch_that_would_fit_and_is_given_once() -> None:
    policy = NoiseScale((0.01, 32, 9), 16, 512)
    plan = make_plan(policy, NUM_EXAMPLES)

    assert len(plan.upcoming()) == 9
    epochs = train(plan, noise(300.0))

    assert batches(epochs) == [32] * 9
    assert decisions(epochs) == [
        Decision(
            "advice",
            "gradient noise scale 300 examples at a batch of 32: a batch of 256 would fit better",
        )
    ]


def test_input_bound_it_may_shrink_but_not_grow() -> None:
    policy = NoiseScale((0.01, 32, 5), 16, 512, mode="act", patience=1)
    up = train(make_plan(policy, NUM_EXAMPLES), noise(400.0, input_bound=True))
    down = train(make_plan(policy, NUM_EXAMPLES), noise(4.0, input_bound=True))

    assert batches(up) == [32] * 5
    assert {decision.kind for decision in decisions(up)} == {"kept"}
    assert batches(down) == [32, 16, 16, 16, 16]


def test_it_asks_for_the_noise_scale() -> None:
    assert make_plan(NoiseScale((0.01, 32, 5), 16, 512), NUM_EXAMPLES).wants_noise_scale
    assert not make_plan(OnPlateau((0.01, 32, 5), 512), NUM_EXAMPLES).wants_noise_scale


# --- what is refused ----------------------------------------------------------------------------


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
def test_on_plateau_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OnPlateau(**({"start": (0.01, 32, 5), "max_batch_size": 512} | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min": 33}, "at most 32, where it starts"),
        ({"min": 0}, "1 or more"),
        ({"max": 31}, "32 or more"),
        ({"mode": "auto"}, "one of advise, act"),
        ({"factor": 1}, "2 or more"),
        ({"patience": 0}, "1 or more"),
        ({"lr_rule": "cubic"}, "one of none, sqrt, linear"),
        ({"steps_per_epoch": 0}, "1 or more, or None"),
    ],
)
def test_noise_scale_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NoiseScale(**({"start": (0.01, 32, 5), "min": 16, "max": 512} | change))


def test_a_batch_that_could_shrink_below_the_replicas_is_refused() -> None:
    policy = NoiseScale((0.01, 32, 5), 2, 512)

    policy.validate(NUM_EXAMPLES, replicas=2)
    with pytest.raises(ConfigError, match="each of 4 replicas"):
        policy.validate(NUM_EXAMPLES, replicas=4)
