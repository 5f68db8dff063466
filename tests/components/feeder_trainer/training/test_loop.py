"""The loop over phases: one trace, the optimizer lives on, rates and batches as scheduled."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import pytest
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.feed import Feed, open_feed
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser
from tfx_feeder.components.feeder_trainer.model.builder import feature_adapter
from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule
from tfx_feeder.components.feeder_trainer.schedules.policy import make_plan
from tfx_feeder.components.feeder_trainer.training import step_timer
from tfx_feeder.components.feeder_trainer.training.loop import TrainingLoop
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder
from tfx_feeder.components.feeder_trainer.training.train_step import CompiledSteps
from tfx_feeder.schemas.training_history import History

N = 200
Run = tuple[CompiledSteps, History]


class Watch(keras.callbacks.Callback):
    """Records the learning rate at each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.rates.append(round(float(self.model.optimizer.learning_rate.numpy()), 6))


@pytest.fixture(scope="module")
def train(digit_files: list[str], digits_spec: dict) -> Callable[..., Run]:
    options = FeedOptions(images={"image": Image(8, 8, 1)}, cache="memory")
    parser = ExampleParser(digits_spec, options, ["image"])
    feed: Feed = open_feed(digit_files, parser, options, shuffle=True)

    def run(
        schedule: str,
        kind: type[CompiledSteps] = CompiledSteps,
        wrap: Callable[[Feed], Any] = lambda feed: feed,
        **arguments: Any,
    ) -> Run:
        model = keras.Sequential(
            [
                keras.Input((8, 8, 1), dtype="uint8"),
                keras.layers.Rescaling(1 / 255),
                keras.layers.Flatten(),
                keras.layers.Dense(10),
            ]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, metrics=["accuracy"])
        steps = kind(model, feature_adapter(model, ["image"]))
        steps.build(next(iter(feed.batches([range(1)], 1))))
        recorder = Recorder()
        plan = make_plan(parse_schedule(schedule), feed.num_examples)
        TrainingLoop(steps, wrap(feed), plan, recorder, probe=False, **arguments).run()
        return steps, recorder.build(
            schedule={}, strategy="", feed={}, num_examples=N, code_fingerprint=""
        )

    return run


def test_phases_share_one_trace_and_one_optimizer(train: Callable[..., Run]) -> None:
    steps, history = train("0.01:16x2, 0.005:32x2, 0.0025:64x1")

    assert steps.traces == 1
    assert int(steps.model.optimizer.iterations.numpy()) == 2 * 13 + 2 * 7 + 4
    assert [row.steps for row in history.epochs] == [13, 13, 7, 7, 4]
    assert [row.examples for row in history.epochs] == [N] * 5
    assert [row.examples_seen for row in history.epochs] == [N * i for i in range(1, 6)]
    assert [(row.steps, row.examples) for row in history.phases] == [(26, 400), (14, 400), (4, 200)]


def test_each_step_has_the_rate_of_its_phase(train: Callable[..., Run]) -> None:
    watch = Watch()

    _, history = train("0.01:50x1, 0.005:100x2", callbacks=[watch])

    assert watch.rates == [0.01] * 4 + [0.005] * 4
    assert [row.learning_rate for row in history.epochs] == pytest.approx([0.01, 0.005, 0.005])


def test_an_epoch_of_given_steps_goes_through_passes(train: Callable[..., Run]) -> None:
    _, history = train("0.01:64x2 @5")

    assert [(row.steps, row.examples) for row in history.epochs] == [(5, 320), (5, 320)]


def test_a_partial_batch_counts_by_its_examples(train: Callable[..., Run]) -> None:
    _, history = train("0.01:32x45ex")

    assert [(row.steps, row.examples) for row in history.epochs] == [(2, 45)]


def test_the_remainder_can_be_dropped(train: Callable[..., Run]) -> None:
    _, history = train("0.01:64x2", drop_remainder=True)

    assert [(row.steps, row.examples) for row in history.epochs] == [(3, 192), (3, 192)]


def test_an_epoch_within_one_batch_is_trained_though_the_remainder_is_dropped(train) -> None:
    _, history = train("0.01:64x210ex, 0.01:64x1", drop_remainder=True)

    assert [row.examples for row in history.epochs] == [192, 10, 192]


def test_the_metrics_are_those_of_the_epoch(train: Callable[..., Run]) -> None:
    _, history = train("0.01:32x8")

    losses = [row.metrics["loss"] for row in history.epochs]
    assert losses[-1] < losses[0]
    assert history.phases[0].metrics == history.epochs[-1].metrics


def test_a_batch_larger_than_the_data_is_refused(train: Callable[..., Run]) -> None:
    with pytest.raises(ConfigError, match="at most the 200 examples"):
        train("0.01:256x1")


def test_a_call_has_the_fewest_steps_however_long_they_take(
    train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    class Steps(CompiledSteps):
        min_steps_per_call = 8

        def train(self, iterator: Any, sizes: Sequence[int]) -> Any:
            calls.append(len(sizes))
            return super().train(iterator, sizes)

    monkeypatch.setattr(step_timer, "CALL_S", 0.0)  # As if any step took longer.
    train("0.01:16x1", Steps)

    assert calls == [1, 8, 4]


class FixedCostFeed:
    """Feed that takes 20 ms for each batch, whatever its size."""

    rejections: Mapping[str, int] = {}

    def __init__(self, feed: Feed) -> None:
        self.num_examples, self.description = feed.num_examples, feed.description
        self._feed = feed

    def batches(self, epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
        def wait(label: tf.Tensor) -> tf.Tensor:
            time.sleep(0.02)
            return label

        def slow(features: Any, label: tf.Tensor) -> Any:
            return features, tf.ensure_shape(tf.py_function(wait, [label], tf.int64), [None])

        return self._feed.batches(epochs, batch_size).map(slow)


def test_an_input_bound_training_grows_its_batch_where_that_is_faster(
    train: Callable[..., Run],
) -> None:
    policy = "on_plateau 0.01:25x6 max=200 patience=1 monitor=loss min_delta=100"

    _, history = train(policy, wrap=FixedCostFeed)

    assert history.phases[0].verdict == "input-bound"
    assert [row.global_batch_size for row in history.epochs] == [25, 25, 50, 50, 50, 100]


def test_a_callback_that_ends_the_training_before_its_first_step_leaves_one(
    train: Callable[..., Run],
) -> None:
    class Ends(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.model.stop_training = True

    _, history = train("0.1:64x2", callbacks=[Ends()])

    assert [row.steps for row in history.epochs] == [1]


def test_steps_per_execution_of_compile_are_the_steps_of_a_call(train: Callable[..., Run]) -> None:
    calls: list[int] = []

    class Recording(CompiledSteps):
        def __init__(self, model: keras.Model, *arguments: Any) -> None:
            model.compile(model.optimizer, model.loss, steps_per_execution=4)
            super().__init__(model, *arguments)

        def train(self, iterator: Any, sizes: Sequence[int]) -> Any:
            calls.append(len(sizes))
            return super().train(iterator, sizes)

    train("0.01:16x1", Recording)

    assert calls == [1, 4, 4, 4]  # The first call, which is traced, is a single step.


class InPython(CompiledSteps):
    """Steps of a model whose loss is computed in Python, which XLA cannot compile."""

    options: Mapping[str, bool] = {}

    def __init__(self, model: keras.Model, adapt: Any) -> None:
        def in_python(y_true: Any, y_pred: Any) -> Any:
            loss = tf.py_function(lambda y: tf.reduce_mean(y**2, axis=-1), [y_pred], tf.float32)
            return tf.ensure_shape(loss, [None])

        model.compile("sgd", in_python, **self.options)
        super().__init__(model, adapt)


class WithXla(InPython):
    """The same with XLA."""

    options = {"jit_compile": True}


class Eager(InPython):
    """The same without a graph."""

    options = {"run_eagerly": True}


def test_jit_compile_uses_xla_and_run_eagerly_no_graph(train: Callable[..., Run]) -> None:
    in_graph, _ = train("0.01:100x1", InPython)
    eager, history = train("0.01:100x2", Eager)

    assert (in_graph.traces, eager.traces) == (1, 0)
    assert all(row.examples_per_s > 0 for row in history.epochs)
    with pytest.raises(tf.errors.InvalidArgumentError, match="EagerPyFunc"):
        train("0.01:100x1", WithXla)
