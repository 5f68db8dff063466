"""A profile measures the cost of the loop, keeps to its budget, and changes no state."""

import time

import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.model.state import capture
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.schedules.time_model import PROFILE_TIME_FRACTION, predict
from tfx_feeder.components.feeder_trainer.strategy_selection.profiler import (
    profile_schedule,
    profile_steps,
)
from tfx_feeder.components.feeder_trainer.training.process_group import SingleProcess
from tfx_feeder.components.feeder_trainer.training.train_step import STEP_S, WAIT_S, CompiledSteps


class ArrayFeed:
    """Batches of 100 rows; ``work`` is done to each batch."""

    description = "none"
    rejections: dict = {}
    num_examples = 100

    def __init__(self, work=lambda rows: rows):
        random = np.random.default_rng(0)
        self._rows = tf.constant(random.normal(size=(100, 8)), tf.float32)
        self._work = work

    def batches(self, epochs, batch_size):
        def batches():
            for epoch in epochs:
                for first in range(epoch.start, epoch.stop, batch_size):
                    yield np.arange(first, min(first + batch_size, epoch.stop)) % 100

        indices = tf.data.Dataset.from_generator(
            batches, output_signature=tf.TensorSpec([None], tf.int64)
        )
        return indices.map(lambda i: ({"x": self._work(tf.gather(self._rows, i))}, i % 3))

    def stage_datasets(self, batch_size):
        return {}


class ScriptedSteps:
    """Steps of scripted durations on a simulated clock."""

    def __init__(self, model, monkeypatch, *, trace_s=2.0, step_s=lambda size: 0.01, parallel=1):
        self.model, self.traces, self.max_micro_batch_size = model, 0, None
        self.calls, self.now = [], 0.0
        self._trace_s, self._step_s, self._parallel = trace_s, step_s, parallel
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def train(self, iterator, sizes):
        self.calls.append(list(sizes))
        self.now += 0 if self.traces else self._trace_s
        self.traces = 1
        rows = np.zeros((len(sizes), 6))
        rows[:, WAIT_S] = 0.001
        rows[:, STEP_S] = [self._step_s(size) - 0.001 for size in sizes]
        self.now += rows[:, : STEP_S + 1].sum() / self._parallel
        return rows

    def evaluate(self, iterator, sizes):
        self.now += len(sizes) * 0.1


def real_steps(model, feed) -> CompiledSteps:
    steps = CompiledSteps(model, lambda features: features["x"])
    steps.build(next(iter(feed.batches([range(1)], 1))))
    return steps


def test_it_changes_nothing_and_says_what_steps_cost(model) -> None:
    feed = ArrayFeed()
    steps = real_steps(model, feed)
    steps.train(iter(feed.batches([range(64)], 16)), [16] * 4)
    before = capture(model)

    profile = profile_steps(steps, feed, (16, 64), 0.1, validation=feed, validation_batch_size=32)

    after = capture(model)
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)
    assert sorted(profile.step_s) == [16, 64]
    assert all(time.steps >= 5 and time.median_s > 0 for time in profile.step_s.values())
    assert profile.eval_s > 0
    assert profile.seconds > sum(time.steps * time.median_s for time in profile.step_s.values())


def test_a_failure_leaves_no_trace_either(model) -> None:
    feed = ArrayFeed()
    steps = real_steps(model, feed)
    before = capture(model)

    with pytest.raises(TypeError):
        profile_steps(steps, feed, (16, "many"), 0.0)  # pyright: ignore[reportArgumentType]

    for name, array in capture(model).items():
        np.testing.assert_array_equal(before[name], array, err_msg=name)


def test_the_wait_for_a_slow_feed_is_part_of_the_step(model) -> None:
    def slow(rows):
        def wait(same):
            time.sleep(0.02)
            return same

        return tf.ensure_shape(tf.py_function(wait, [rows], tf.float32), [None, 8])

    feed = ArrayFeed(slow)

    assert profile_steps(real_steps(model, feed), feed, (16,), 0.0).step_s[16].median_s > 0.015


def test_five_steps_where_the_budget_is_tiny(model, monkeypatch) -> None:
    steps = ScriptedSteps(model, monkeypatch)

    profile = profile_steps(steps, ArrayFeed(), (10, 20), 0.0, start_s=3.0)

    assert [len(sizes) for sizes in steps.calls] == [1, 5, 5, 1, 5, 5]
    assert {size: time.steps for size, time in profile.step_s.items()} == {10: 5, 20: 5}
    assert profile.step_s[10].median_s == pytest.approx(0.01)
    assert profile.start_s == pytest.approx(3.0 + 2.0, abs=0.01)  # The start so far, and tracing.


def test_a_budget_is_shared_out_and_kept(model, monkeypatch) -> None:
    steps = ScriptedSteps(model, monkeypatch, step_s=lambda size: size / 1000)

    profile = profile_steps(steps, ArrayFeed(), (10, 50), 4.0)

    for size, measured in profile.step_s.items():
        assert measured.median_s == pytest.approx(size / 1000)
        assert 1.5 <= measured.steps * size / 1000 <= 2.0
    assert max(len(sizes) * sizes[0] / 1000 for sizes in steps.calls) <= 0.5


def test_steps_side_by_side_count_once(model, monkeypatch) -> None:
    steps = ScriptedSteps(model, monkeypatch, parallel=4)

    profile = profile_steps(steps, ArrayFeed(), (10,), 0.0)

    assert profile.step_s[10].median_s == pytest.approx(0.01 / 4)


def test_a_pass_of_validation_is_scaled_up(model, monkeypatch) -> None:
    steps = ScriptedSteps(model, monkeypatch)

    profile = profile_steps(
        steps, ArrayFeed(), (10,), 0.0, validation=ArrayFeed(), validation_batch_size=4
    )

    assert profile.eval_s == pytest.approx(25 * 0.1)


def test_a_batch_that_does_not_fit_is_profiled_in_micro_batches(model, monkeypatch) -> None:
    class Small(ScriptedSteps):
        def train(self, iterator, sizes):
            if sizes[0] > (self.max_micro_batch_size or sizes[0] + 1) or (
                self.max_micro_batch_size is None and sizes[0] > 16
            ):
                raise tf.errors.ResourceExhaustedError(None, None, "too large")
            return super().train(iterator, sizes)

        def halve_micro_batches(self, batch_size):
            self.halved = batch_size
            self.max_micro_batch_size = 64
            return 64

    steps = Small(model, monkeypatch)

    assert profile_steps(steps, ArrayFeed(), (8, 32), 0.0).step_s.keys() == {8, 32}
    assert steps.halved == 32


def test_a_long_schedule_is_profiled_for_longer_but_within_5_percent(model, monkeypatch) -> None:
    short = list(Schedule.from_value("0.01:10x1 @20").epoch_specs(100))
    long = list(Schedule.from_value("0.01:10x200 @100").epoch_specs(100))

    first = profile_schedule(ScriptedSteps(model, monkeypatch), ArrayFeed(), short)
    steps = ScriptedSteps(model, monkeypatch)
    second = profile_schedule(steps, ArrayFeed(), long)

    assert first.step_s[10].steps == 5
    assert second.step_s[10].steps > 400
    assert second.start_s == pytest.approx(2.0, abs=0.01)
    tracing_s = second.start_s  # Part of any run.
    assert second.seconds - tracing_s <= PROFILE_TIME_FRACTION * predict(second, long).seconds


def test_workers_run_as_many_steps_as_the_chief(model, monkeypatch) -> None:
    class Follower(SingleProcess):
        is_chief = False
        size = 2

        def broadcast(self, values):
            return [7.0 if value > 1 else 0.0 for value in values]

    steps = ScriptedSteps(model, monkeypatch)

    profile_steps(steps, ArrayFeed(), (10,), 1e-9, process_group=Follower())
    alone = ScriptedSteps(model, monkeypatch)
    profile_steps(alone, ArrayFeed(), (10,), 0.2, process_group=Follower())

    assert [len(sizes) for sizes in steps.calls] == [1, 5, 5]
    assert [len(sizes) for sizes in alone.calls][:4] == [1, 5, 5, 7]
