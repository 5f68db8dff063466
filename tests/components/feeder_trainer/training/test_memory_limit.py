"""A batch that does not fit is split, with the same result as if it had fitted."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.feed import open_feed
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser
from tfx_feeder.components.feeder_trainer.model.builder import feature_adapter
from tfx_feeder.components.feeder_trainer.schedules.policy import make_plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.training.loop import TrainingLoop
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder
from tfx_feeder.components.feeder_trainer.training.train_step import CompiledSteps, StepOptions


class NeedsMemory(keras.layers.Layer):
    """Runs out of memory, as TensorFlow reports it, on more than ``limit`` training examples."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def call(self, x, training=False):
        if not training:
            return x

        def allocate(pixels):
            if len(pixels) > self.limit:
                raise MemoryError(f"{len(pixels)} examples")
            return pixels

        # The gradient of py_function would call it again: take its value aside.
        checked = tf.py_function(allocate, [tf.stop_gradient(x)], x.dtype)
        return x + 0 * tf.ensure_shape(checked, x.shape)


@pytest.fixture
def train(digit_files: list[str], digits_spec: dict) -> Callable:
    feed_options = FeedOptions(images={"image": Image(8, 8, 1)})
    parser = ExampleParser(digits_spec, feed_options, ["image"])
    feed = open_feed(digit_files, parser, feed_options, shuffle=True)

    def run(limit: int, **options: Any):
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Rescaling(1 / 255), NeedsMemory(limit), keras.layers.Flatten()]
        model = keras.Sequential([keras.Input((8, 8, 1), dtype="uint8"), *layers])
        model.add(keras.layers.Dense(10))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
        steps = CompiledSteps(model, feature_adapter(model, ["image"]), StepOptions(**options))
        steps.build(next(iter(feed.batches([range(1)], 1))))
        recorder = Recorder()
        plan = make_plan(Schedule.from_value("0.1:64x2, 0.05:80x1"), feed.num_examples)
        TrainingLoop(steps, feed, plan, recorder, probe=False).run()
        return model.get_weights(), recorder

    return run


def test_halves_until_it_fits_and_says_so(train: Callable) -> None:
    expected, _ = train(1000)

    weights, recorder = train(20)

    for weight, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-3, atol=1e-5)
    assert [event.message for event in recorder.events if event.kind == "out_of_memory"] == [
        "A batch of 64 did not fit: micro-batches of 32 now.",
        "A batch of 64 did not fit: micro-batches of 16 now.",
    ]


def test_a_limit_from_the_start_meets_no_error(train: Callable) -> None:
    expected, _ = train(1000)

    weights, recorder = train(20, max_micro_batch_size=20)

    for weight, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-3, atol=1e-5)
    assert not [event for event in recorder.events if event.kind == "out_of_memory"]


def test_what_fits_nothing_is_an_error(train: Callable) -> None:
    with pytest.raises(tf.errors.ResourceExhaustedError):
        train(0)


def test_micro_batches_need_a_step_that_can_be_split() -> None:
    class Own(keras.Sequential):
        def train_step(self, data):
            return super().train_step(data)

    model = Own([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    with pytest.raises(ConfigError, match="max_micro_batch_size"):
        CompiledSteps(model, dict, StepOptions(max_micro_batch_size=8))
