"""The diagnosis follows from the bounds of feed and device; measuring changes no state."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.base import Feed
from tfx_feeder.components.feeder_trainer.model.state import capture
from tfx_feeder.components.feeder_trainer.training.bottleneck import (
    ThroughputBounds,
    ThroughputMonitor,
)
from tfx_feeder.components.feeder_trainer.training.process_group import SingleProcess
from tfx_feeder.components.feeder_trainer.training.train_step import CompiledSteps


class ArrayFeed(Feed):
    """Batches of an array, each made by ``work``."""

    def __init__(self, work=lambda pixels: pixels, description="none"):
        self.description = description
        random = np.random.default_rng(0)
        self.num_examples = 64
        self._examples = random.normal(size=(64, 8)).astype(np.float32), np.arange(64) % 3
        self._work = work

    def batches(self, epochs, batch_size):
        del epochs
        data = tf.data.Dataset.from_tensor_slices(self._examples).repeat().batch(batch_size)
        return data.map(lambda x, y: ({"x": self._work(x)}, y))

    def stage_datasets(self, batch_size):
        data = tf.data.Dataset.from_tensor_slices(self._examples).repeat().batch(batch_size)
        return {"reading": data, "augment_fn": self.batches([range(64)], batch_size)}


def probed(model, feed) -> ThroughputMonitor:
    steps = CompiledSteps(model, lambda features: features["x"])
    steps.build(next(iter(feed.batches([range(1)], 1))))
    steps.train(iter(feed.batches([range(64)], 16)), [16] * 4)
    monitor = ThroughputMonitor(steps, feed, SingleProcess())
    monitor.probe(16, step_s=1e-3, trained_s=10.0)
    return monitor


def test_a_probe_changes_nothing(model):
    feed = ArrayFeed()
    steps = CompiledSteps(model, lambda features: features["x"])
    steps.build(next(iter(feed.batches([range(1)], 1))))
    steps.train(iter(feed.batches([range(64)], 16)), [16] * 4)
    before = capture(model)
    monitor = ThroughputMonitor(steps, feed, SingleProcess())
    monitor.probe(16, step_s=1e-3, trained_s=10.0)
    assert monitor.bounds is not None
    after = capture(model)
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)


def test_a_feed_of_files_is_measured_once_and_without_a_second_stream(model):
    class FileFeed(ArrayFeed):
        reads_files = True
        measured = 0

        def sample(self, size):
            return {"x": self._examples[0][:size]}, self._examples[1][:size]

        def batches(self, epochs, batch_size):
            raise AssertionError("A second stream fills another shuffle buffer.")

        def stage_datasets(self, batch_size):
            self.measured += 1
            data = tf.data.Dataset.from_tensors(self.sample(batch_size)).repeat()
            return {"reading": data, "parsing and decoding": data.map(lambda *batch: batch)}

    feed = FileFeed()
    steps = CompiledSteps(model, lambda features: features["x"])
    steps.build(feed.sample(1))
    steps.train(iter(ArrayFeed().batches([range(64)], 16)), [16] * 4)
    monitor = ThroughputMonitor(steps, feed, SingleProcess())
    for batch_size in (16, 32):
        monitor.begin_phase()
        monitor.probe(batch_size, step_s=1e-3, trained_s=10.0 * batch_size)
        assert monitor.bounds is not None
        assert monitor.bounds.slowest_stage in ("reading", "parsing and decoding")
    assert feed.measured == 1


def test_a_slow_map_is_input_bound(model):
    def slow(pixels):
        def wait(same):
            time.sleep(0.05)
            return same

        return tf.ensure_shape(tf.py_function(wait, [pixels], tf.float32), [None, 8])

    monitor = probed(model, ArrayFeed(slow))
    assert monitor.is_input_bound(80.0)
    bottleneck = monitor.diagnose(80.0, 300.0)
    assert bottleneck.kind == "input-bound"
    assert "80 %" in bottleneck.advice
    assert "slowest stage is augment_fn" in bottleneck.advice


def test_no_probe_where_five_percent_do_not_suffice(model):
    feed = ArrayFeed()
    steps = CompiledSteps(model, lambda features: features["x"])
    monitor = ThroughputMonitor(steps, feed, SingleProcess())
    monitor.probe(16, step_s=0.1, trained_s=1.0)
    assert monitor.bounds is None
    disabled = ThroughputMonitor(steps, feed, SingleProcess(), enabled=False)
    disabled.probe(16, step_s=1e-3, trained_s=1000.0)
    assert disabled.bounds is None


@pytest.mark.parametrize(
    ("bounds", "wait_pct", "speed", "kind", "advice"),
    [
        (None, 30.0, 100.0, "input-bound", "cannot keep up"),
        (None, 1.0, 100.0, "device-bound", "keeps up"),
        (ThroughputBounds(1000.0, 500.0), 1.0, 480.0, "input-bound", "cannot keep up"),
        (ThroughputBounds(1000.0, 1100.0), 33.0, 550.0, "input-bound", "cannot keep up"),
        (ThroughputBounds(1000.0, 9000.0), 12.0, 950.0, "device-bound", "keeps up"),
        (ThroughputBounds(1000.0, 9000.0), 1.0, 500.0, "device-bound", "50 %"),
        (
            ThroughputBounds(1000.0, 9000.0, "", 2000.0),
            1.0,
            900.0,
            "communication-bound",
            "50 % of a step",
        ),
        (ThroughputBounds(1000.0, 9000.0, "", 1100.0), 1.0, 900.0, "device-bound", "keeps up"),
    ],
)
def test_diagnoses(model, bounds, wait_pct, speed, kind, advice):
    monitor = ThroughputMonitor(
        CompiledSteps(model, lambda features: features["x"]), ArrayFeed(), SingleProcess()
    )
    monitor.bounds = bounds
    bottleneck = monitor.diagnose(wait_pct, speed)
    assert bottleneck.kind == kind
    assert advice in bottleneck.advice


@pytest.mark.parametrize(
    ("description", "stage", "advised", "not_advised"),
    [
        ("none: as requested", "", ["cache=", "Transform", "service="], []),
        ("memory: 0.4 MiB fit", "", ["batch size"], ["cache=", "service=", "Transform"]),
        ("disk: held in /x", "augment_fn", ["augment_fn cheaper", "service="], ["cache="]),
        ("none: some features vary in length", "reading", ["faster storage"], ["cache="]),
        ("none: read by tf.data service local:2", "", ["Transform"], ["cache=", "service="]),
    ],
)
def test_the_advice_names_no_option_that_is_set(model, description, stage, advised, not_advised):
    feed = ArrayFeed(description=description)
    steps = CompiledSteps(model, lambda features: features["x"])
    monitor = ThroughputMonitor(steps, feed, SingleProcess())
    monitor.bounds = ThroughputBounds(1000.0, 500.0, stage)

    advice = monitor.diagnose(50.0, 480.0).advice

    assert all(words in advice for words in advised)
    assert not any(words in advice for words in not_advised)


def test_a_model_in_mixed_precision_is_not_advised_to_use_it():
    layer = keras.layers.Dense(3, dtype="mixed_float16")
    model = keras.Sequential([keras.Input((8,)), layer])
    model.compile(optimizer="sgd", loss="mse")
    steps = CompiledSteps(model, lambda features: features["x"])
    monitor = ThroughputMonitor(steps, ArrayFeed(), SingleProcess())

    advice = monitor.diagnose(1.0, 100.0).advice

    assert "keeps up" in advice
    assert "mixed precision" not in advice
