"""Callbacks that freeze and release layers change the training as they do in ``fit()``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.feed import Feed, open_feed
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser
from tfx_feeder.components.feeder_trainer.model.builder import feature_adapter
from tfx_feeder.components.feeder_trainer.schedules.policy import make_plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.training.checkpoint_manager import CheckpointManager
from tfx_feeder.components.feeder_trainer.training.loop import TrainingLoop
from tfx_feeder.components.feeder_trainer.training.process_group import SingleProcess
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder
from tfx_feeder.components.feeder_trainer.training.train_step import CompiledSteps

EPOCHS, BATCH = 4, 100


class Trainable(keras.callbacks.Callback):
    """Sets whether the hidden layer is trainable, at the begin and after some epochs."""

    def __init__(self, begin: bool, *, force: bool, **at_end_of: bool) -> None:
        super().__init__()
        self.begin, self.force, self.at_end_of = begin, force, at_end_of

    def on_train_begin(self, logs: Any = None) -> None:
        self.model.get_layer("hidden").trainable = self.begin

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if (flag := self.at_end_of.get(f"epoch_{epoch}")) is not None:
            self.model.get_layer("hidden").trainable = flag
            if self.force:
                self.model.make_train_function(force=True)


class Killed(Exception):
    """The process has ended."""


class Killer(keras.callbacks.Callback):
    """Ends the training at the begin of an epoch."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self._epoch = [epoch]

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == self._epoch[0]:
            raise Killed


class Compiles(keras.callbacks.Callback):
    """Compiles the model after the first epoch."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.compile("adam", "mse")
        self.model.make_train_function(force=True)


class OneOfTwo(SingleProcess):
    """The chief of two processes, as far as the loop can tell."""

    size = 2


@pytest.fixture(scope="module")
def feed(digit_files: list[str], digits_spec: dict[str, Any]) -> Feed:
    options = FeedOptions(images={"image": Image(8, 8, 1)}, cache="memory")
    return open_feed(
        digit_files, ExampleParser(digits_spec, options, ["image"]), options, shuffle=True
    )


def model_fn(*, is_trainable: bool = True, run_eagerly: bool = False) -> keras.Model:
    keras.utils.set_random_seed(3)
    image = keras.Input((8, 8, 1), name="image", dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    inner = keras.Sequential([keras.layers.Dense(8), keras.layers.BatchNormalization()])
    hidden = keras.Sequential([inner], name="hidden")
    model = keras.Model(image, keras.layers.Dense(10, "softmax")(hidden(x)))
    hidden.trainable = is_trainable
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, "sparse_categorical_crossentropy", run_eagerly=run_eagerly)
    optimizer.build(model.trainable_variables)  # So that fit() may release what it has frozen.
    return model


def train(
    feed: Feed, callbacks: list, folder: Path | None = None, *, measured: bool = False, **arguments
) -> keras.Model:
    model = model_fn(**arguments.pop("model", {}))
    steps = CompiledSteps(model, feature_adapter(model, ["image"]))
    steps.build(feed.sample(1))
    if measured:  # As the profile of Auto.
        before = model.get_weights(), [v.numpy() for v in model.optimizer.variables]
        steps.profile(iter(feed.batches([range(BATCH)], BATCH)), [BATCH])
        model.set_weights(before[0])
        for variable, value in zip(model.optimizer.variables, before[1], strict=True):
            variable.assign(value)
    if folder is not None:
        arguments["checkpoints"] = CheckpointManager(folder, every_examples=BATCH)
    plan = make_plan(Schedule([(0.1, BATCH, EPOCHS)]), feed.num_examples)
    TrainingLoop(steps, feed, plan, Recorder(), callbacks=callbacks, probe=False, **arguments).run()
    return model


def fit(feed: Feed, callbacks: list, **model: bool) -> keras.Model:
    made = model_fn(**model)
    n = feed.num_examples
    batches = feed.batches([range(i * n, (i + 1) * n) for i in range(EPOCHS)], BATCH)
    sized = batches.map(lambda features, label: (features["image"], label)).apply(
        tf.data.experimental.assert_cardinality(EPOCHS * n // BATCH)
    )
    made.fit(sized, epochs=EPOCHS, steps_per_epoch=n // BATCH, callbacks=callbacks, verbose=0)
    return made


def assert_equal(model: keras.Model, expected: keras.Model) -> None:
    for weight, value in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(weight, value, 1e-4, 1e-5)
    assert [v.trainable for v in model.variables] == [v.trainable for v in expected.variables]


CHANGES = {
    "released": lambda: Trainable(False, force=True, epoch_1=True),
    "frozen": lambda: Trainable(True, force=True, epoch_1=False),
    "both": lambda: Trainable(False, force=True, epoch_0=True, epoch_2=False),
    "not asked for": lambda: Trainable(False, force=False, epoch_1=True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_layers_are_frozen_and_released_as_in_fit(feed: Feed, tmp_path: Path, change: str) -> None:
    expected = fit(feed, [CHANGES[change]()])

    assert_equal(train(feed, [CHANGES[change]()]), expected)
    assert_equal(train(feed, [CHANGES[change]()], measured=True), expected)
    with pytest.raises(Killed):
        train(feed, [Killer(3), CHANGES[change]()], tmp_path)
    assert_equal(train(feed, [keras.callbacks.Callback(), CHANGES[change]()], tmp_path), expected)


def test_eager_steps_follow_at_once_as_in_fit(feed: Feed) -> None:
    change = CHANGES["not asked for"]
    assert_equal(
        train(feed, [change()], model={"run_eagerly": True}),
        fit(feed, [change()], run_eagerly=True),
    )


@pytest.mark.parametrize(
    ("callback", "arguments", "error"),
    [
        (Compiles, {}, "Received: 'a callback that compiles the model'"),
        (CHANGES["frozen"], {"model": {"is_trainable": False}}, "Freeze them in on_train_begin"),
        (CHANGES["frozen"], {"process_group": OneOfTwo()}, "which layers 2 processes train"),
    ],
)
def test_what_cannot_be_followed_is_refused(
    feed: Feed, callback: Callable, arguments: dict[str, Any], error: str
) -> None:
    with pytest.raises(ConfigError, match=error):
        train(feed, [callback()], **arguments)
