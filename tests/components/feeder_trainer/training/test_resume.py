"""A training that was killed goes on as if nothing had happened: model, callbacks, rate."""

import collections
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.random.seed_generator import global_seed_generator

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.feed import open_feed
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser
from tfx_feeder.components.feeder_trainer.model.builder import feature_adapter
from tfx_feeder.components.feeder_trainer.model.warm_start import (
    load_warm_start,
    save_for_warm_start,
)
from tfx_feeder.components.feeder_trainer.schedules.policy import make_plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.training import progress
from tfx_feeder.components.feeder_trainer.training.checkpoint_manager import CheckpointManager
from tfx_feeder.components.feeder_trainer.training.loop import TrainingLoop
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder
from tfx_feeder.components.feeder_trainer.training.step_timer import preserve_state
from tfx_feeder.components.feeder_trainer.training.train_step import CompiledSteps

K = keras.callbacks
STEPS = 4
"""Steps of an epoch: 200 examples in batches of 50."""


class Killed(Exception):
    pass


class Killer(K.Callback):
    """Ends the process after some steps, as far as the training can tell."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps_left = [steps]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._steps_left[0] -= 1
        if not self._steps_left[0]:
            raise Killed


@pytest.fixture(scope="module")
def feed(digit_files: list[str], digits_spec: dict):
    options = FeedOptions(images={"image": Image(8, 8, 1)}, cache="memory")
    parser = ExampleParser(digits_spec, options, ["image"])
    return open_feed(digit_files, parser, options, shuffle=True)


@pytest.fixture
def train(feed, tmp_path: Path) -> Callable[..., tuple[keras.Model, Recorder]]:
    def run(
        model_fn: Callable[[], keras.Model] = dense,
        *,
        name: str = "",
        kill_after: int | None = None,
        callbacks: Callable[[], list[K.Callback]] = list,
        schedule: str = "0.1:50x3",
        every_examples: int = 50,
        **arguments: Any,
    ) -> tuple[keras.Model, Recorder]:
        # As in a new process; Keras does not reset its global state.
        global_seed_generator().state.assign([3, 0])
        keras.utils.set_random_seed(3)
        model = model_fn()
        steps = CompiledSteps(model, feature_adapter(model, ["image"]))
        steps.build(next(iter(feed.batches([range(1)], 1))))
        recorder = Recorder()
        plan = make_plan(Schedule.from_value(schedule), feed.num_examples)
        # The killer comes first, so that the others have not seen the last step.
        killer = [Killer(kill_after)] if kill_after else [K.Callback()]
        if name:
            manager = CheckpointManager(tmp_path / name, every_examples=every_examples)
            arguments["checkpoints"] = manager
        loop = TrainingLoop(
            steps,
            feed,
            plan,
            recorder,
            callbacks=[*killer, *callbacks()],
            probe=False,
            steps_per_execution=1,
            **arguments,
        )
        loop.run()
        return model, recorder

    return run


def dense(optimizer: Any = "adam", **layer: Any) -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(10, **layer),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


class UnseededNoise(keras.layers.Layer):
    """Adds noise from Keras's global random state."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        noise = keras.random.normal(keras.ops.shape(inputs))
        return inputs + noise if training else inputs


def noisy_with_averages() -> keras.Model:
    model = dense()
    model = keras.Sequential([*model.layers[:2], UnseededNoise(), model.layers[-1]])
    optimizer = keras.optimizers.Adam(use_ema=True, ema_momentum=0.9)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def bfloat16() -> keras.Model:
    keras.config.set_dtype_policy("bfloat16")
    try:
        return dense(keras.optimizers.SGD(momentum=0.9))
    finally:
        keras.config.set_dtype_policy("float32")


class TwoOptimizers(keras.Model):
    """Two parts that are trained by optimizers of their own, as in a GAN."""

    def __init__(self) -> None:
        super().__init__()
        self.body = keras.Sequential(
            [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(8)]
        )
        self.head = keras.layers.Dense(10)
        self.head_optimizer = keras.optimizers.Adam(0.01)

    def call(self, inputs: Any) -> Any:
        return self.head(self.body(inputs))

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        for layer, optimizer in (
            (self.body, self.optimizer),
            (self.head, self.head_optimizer),
        ):
            with tf.GradientTape() as tape:
                loss = self.compute_loss(x, y, self(x, training=True))
            variables = layer.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
        return {"loss": loss}


class Counting(keras.Model):
    """Divides its gradients by the number of steps, which Keras does not track."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = keras.layers.Dense(10)
        self.layer.count = tf.Variable(0.0, trainable=False)

    def call(self, inputs: Any) -> Any:
        return self.layer(tf.reshape(tf.cast(inputs, tf.float32) / 255, [-1, 64]))

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        self.layer.count.assign_add(1.0)
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True)) / self.layer.count
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return {"loss": loss}


def counting() -> keras.Model:
    model = Counting()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.mark.parametrize("is_replicated", [False, True])
def test_timed_steps_leave_the_variables_of_tensorflow_as_they_were(is_replicated: bool) -> None:
    replicas = tf.distribute.MirroredStrategy(["CPU:0"])
    with replicas.scope() if is_replicated else contextlib.nullcontext():
        model = counting()
        model(np.zeros((1, 8, 8, 1)))
        with preserve_state(model):
            model.layer.count.assign(7.0)
        assert float(tf.identity(model.layer.count)) == 0


class CountedCalls(keras.layers.Layer):
    """Divides by the number of calls, which it keeps in a variable of TensorFlow."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = tf.Variable(0.0, trainable=False)

    def call(self, inputs: Any) -> Any:
        self.calls.assign_add(1.0)
        return inputs / self.calls


class CountedLoss(keras.losses.SparseCategoricalCrossentropy):
    """Multiplies by the number of calls, and by noise; Keras tracks no variable of a loss."""

    def __init__(self) -> None:
        super().__init__(from_logits=True)
        self.calls = keras.Variable(0.0, trainable=False)
        self.total = tf.Variable(0.0, trainable=False)
        self.noise = keras.random.SeedGenerator(5)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        self.calls.assign_add(1.0)
        self.total.assign_add(tf.reduce_mean(y_pred))
        noise = keras.random.uniform((), 0.5, 1.5, seed=self.noise)
        return self.calls.value * noise * super().call(y_true, y_pred)


class PlainMetric(keras.Metric):
    """Sums up in a variable of TensorFlow."""

    def __init__(self) -> None:
        super().__init__(name="plain")
        self.total = tf.Variable(0.0)

    def update_state(self, y: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.total.assign_add(tf.reduce_sum(tf.abs(y_pred)))

    def result(self) -> Any:
        return tf.identity(self.total)

    def reset_state(self) -> None:
        self.total.assign(0.0)


def counted_calls() -> keras.Model:
    model = dense()
    model = keras.Sequential([*model.layers[:2], CountedCalls(), model.layers[-1]])
    model.compile("sgd", CountedLoss(), metrics=[PlainMetric()])
    return model


def test_building_a_model_does_not_count_as_a_call_of_it() -> None:
    model = counted_calls()
    CompiledSteps(model, lambda x: x).build((np.zeros((1, 8, 8, 1)), np.zeros(1)))

    assert float(model.layers[2].calls) == float(model.loss.calls) == float(model.loss.total) == 0
    assert model.loss.noise.state.numpy().tolist() == [5, 0]


def test_variables_that_keras_does_not_track_survive_a_kill(train) -> None:
    expected, whole = train(counted_calls)
    with pytest.raises(Killed):
        train(counted_calls, name="killed", kill_after=STEPS + 3)
    model, resumed = train(counted_calls, name="killed")

    assert float(model.layers[2].calls) == float(expected.layers[2].calls) == 3 * STEPS
    assert float(model.loss.calls) == 3 * STEPS
    assert float(model.loss.total) == float(expected.loss.total)
    assert [row.metrics for row in resumed.epochs] == [row.metrics for row in whole.epochs]


def normalized(data: Any) -> keras.Model:
    """Returns a model whose first layer is adapted to data."""
    normalization = keras.layers.Normalization(axis=None)
    normalization.adapt(data)
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Flatten()(normalization(image))
    model = keras.Model(image, keras.layers.Dense(10)(x))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_statistics_of_the_base_model_survive_a_kill(train, tmp_path: Path) -> None:
    base = save_for_warm_start(normalized(np.array([10.0, 200.0])), tmp_path / "base").parent
    made: list[keras.Model] = []

    def model_fn() -> keras.Model:
        made.append(normalized(np.array([0.0, 1.0])))
        return made[-1]

    options = {"start": lambda: load_warm_start(made[-1], base), "schedule": "0.01:50x3"}
    expected, whole = train(model_fn, **options)
    with pytest.raises(Killed):
        train(model_fn, name="killed", kill_after=STEPS + 3, **options)
    model, resumed = train(model_fn, name="killed", **options)

    assert float(tf.squeeze(model.layers[1].mean)) == pytest.approx(105)
    assert [row.metrics for row in resumed.epochs] == [row.metrics for row in whole.epochs]
    for weight, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


def two_optimizers() -> keras.Model:
    model = TwoOptimizers()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    return model


@pytest.mark.parametrize(
    "model_fn",
    [noisy_with_averages, bfloat16, two_optimizers, counting],
    ids=["unseeded random operations and EMA", "bfloat16", "two optimizers", "tf.Variable"],
)
def test_the_weights_are_those_of_an_uninterrupted_training(train, model_fn) -> None:
    expected, _ = train(model_fn)
    with pytest.raises(Killed):
        train(model_fn, name="killed", kill_after=STEPS + 3)
    # Models made before change the names that Keras gives to layers and variables.
    dense()
    model, recorder = train(model_fn, name="killed")

    assert [event.kind for event in recorder.events] == ["resume"]
    for weight, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


class Memory(K.Callback):
    """Remembers in containers and arrays, and in something that cannot be saved."""

    def __init__(self) -> None:
        super().__init__()
        self.losses = collections.deque(maxlen=2)
        self.counts = collections.defaultdict(int)
        self.rows: list[dict[str, float]] = []
        self.sum = np.zeros(2)
        self.nested = {1: (np.ones(1), {"a"})}
        self.tracker = keras.metrics.Mean()
        self.function = print

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.losses.append(logs["loss"])
        self.counts[batch] += 1
        self.rows.append(dict(logs))
        self.sum += 1
        self.nested[1] = (self.nested[1][0] + 1, {"a", batch})

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.counts[f"epoch {epoch}"] += 1

    def seen(self) -> list[Any]:
        return [
            list(self.losses),
            self.losses.maxlen,
            dict(self.counts),
            self.rows,
            self.sum.tolist(),
            [(key, array.tolist(), names) for key, (array, names) in self.nested.items()],
        ]


def test_containers_and_arrays_of_callbacks_are_kept_and_the_rest_is_named(train) -> None:
    made: list[Memory] = []

    def callbacks() -> list[K.Callback]:
        made.append(Memory())
        return made[-1:]

    train(callbacks=callbacks)
    with pytest.raises(Killed):
        train(callbacks=callbacks, name="killed", kill_after=STEPS + 3)
    _, recorder = train(callbacks=callbacks, name="killed")

    whole, _, resumed = made
    assert resumed.seen() == whole.seen()
    assert isinstance(resumed.counts, collections.defaultdict)
    (event,) = [event for event in recorder.events if event.kind == "callback_state"]
    assert "Memory.tracker" in event.message
    assert "function" not in event.message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model_fn", "make"),
    [
        (
            dense,
            lambda: [
                K.LearningRateScheduler(lambda epoch, rate: rate * 0.5),
                K.EarlyStopping("loss", mode="max", restore_best_weights=True, patience=2),
            ],
        ),
        (
            noisy_with_averages,
            lambda: [
                K.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=10),
                K.SwapEMAWeights(swap_on_epoch=True),
            ],
        ),
    ],
    ids=["LearningRateScheduler and EarlyStopping", "ReduceLROnPlateau and SwapEMAWeights"],
)
def test_callbacks_act_as_in_an_uninterrupted_training(train, feed, model_fn, make) -> None:
    options = {"callbacks": make, "schedule": "0.1:50x4", "validation": feed}
    expected, whole = train(model_fn, **options)
    for kill_after in (STEPS + 1, 3):  # Resumes between two epochs, and within one.
        with pytest.raises(Killed):
            train(model_fn, name="killed", kill_after=kill_after, **options)
    model, resumed = train(model_fn, name="killed", **options)

    assert [row.learning_rate for row in resumed.epochs] == [
        row.learning_rate for row in whole.epochs
    ]
    for weight, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


def test_a_callback_that_restores_the_model_itself_is_refused(train, tmp_path) -> None:
    with pytest.raises(ConfigError, match="BackupAndRestore"):
        train(callbacks=lambda: [K.BackupAndRestore(tmp_path)], name="refused")


def test_the_rate_follows_the_factor_of_the_restarted_team(train) -> None:
    with pytest.raises(Killed):
        train(name="killed", kill_after=STEPS + 3, lr_scale_factor=4.0)
    _, recorder = train(name="killed", lr_scale_factor=2.0)

    rates = [row.learning_rate for row in recorder.epochs]
    assert rates == pytest.approx([0.4, 0.2, 0.2])


def test_a_log_file_keeps_the_rows_of_the_epochs_before(train, tmp_path) -> None:
    def log(name: str) -> Callable[[], list[K.Callback]]:
        return lambda: [K.CSVLogger(tmp_path / f"{name}.csv")]

    train(callbacks=log("whole"))
    # Killed after the second row; the checkpoint is from before it.
    for kill_after in (2 * STEPS + 1, None):
        with pytest.raises(Killed) if kill_after else contextlib.nullcontext():
            options = {"name": "checkpoints", "kill_after": kill_after}
            train(callbacks=log("killed"), every_examples=50 * (STEPS + 1), **options)

    assert (tmp_path / "killed.csv").read_text() == (tmp_path / "whole.csv").read_text()


def test_only_a_training_from_the_beginning_starts_from_another_model(train) -> None:
    starts: list[str] = []
    with pytest.raises(Killed):
        train(name="killed", kill_after=STEPS + 3, start=lambda: starts.append("first"))
    train(name="killed", start=lambda: starts.append("second"))

    assert starts == ["first"]


def test_a_signal_after_the_last_epoch_saves_a_checkpoint(train, tmp_path) -> None:
    class AtTheEnd(K.Callback):
        def on_train_end(self, logs: Any = None) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(callbacks=lambda: [AtTheEnd()], name="stopped", every_examples=10_000)
    expected, _ = train(callbacks=lambda: [K.Callback()], name="stopped")

    assert [path.name[-3:] for path in (tmp_path / "stopped").glob("at-*")] == ["600"]
    assert int(expected.optimizer.iterations) == 3 * STEPS


class StopAfterSixSteps(K.Callback):
    """Stops the training within its second epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps += 1
        if self.steps == STEPS + 2:
            self.model.stop_training = True


class KilledAtTheEndOfTheSecondEpoch(K.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            raise Killed


def test_a_stop_within_an_epoch_holds_after_a_kill(train) -> None:
    with pytest.raises(Killed):
        train(
            callbacks=lambda: [StopAfterSixSteps(), KilledAtTheEndOfTheSecondEpoch()],
            name="killed",
        )
    _, recorder = train(callbacks=lambda: [StopAfterSixSteps(), K.Callback()], name="killed")

    assert [row.steps for row in recorder.epochs] == [STEPS, 2]


class Signal(K.Callback):
    """Sends a signal to this process after some steps."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__()
        self._number = number
        self._steps = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._steps += 1
        if self._steps == STEPS + 2:
            os.kill(os.getpid(), self._number)


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_saves_a_checkpoint_and_the_resumed_run_says_so(
    train, number, error, caplog
) -> None:
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    expected, _ = train()
    with pytest.raises(error):
        train(callbacks=lambda: [Signal(number)], name="stopped", every_examples=10_000)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    with caplog.at_level("INFO", logger=progress.LOGGER.name):
        model, _ = train(callbacks=lambda: [K.Callback()], name="stopped")

    sentences = [record.resumed for record in caplog.records if hasattr(record, "resumed")]
    assert sentences == ["Resumed from the checkpoint at 300 examples."]
    for weight, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)
