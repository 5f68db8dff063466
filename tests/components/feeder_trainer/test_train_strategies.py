"""One training from files to exported model under every strategy that runs on this machine."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.distribution.fit import FitSpec, open_fit_context, run
from tfx_feeder.components.feeder_trainer.distribution.options import (
    Auto,
    CentralStorage,
    Mirrored,
    MultiWorker,
    ParameterServer,
    PeerAveraging,
    SingleDevice,
    Strategy,
    SynchronousParameterServer,
)
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image
from tfx_feeder.components.feeder_trainer.model.builder import ModelContext
from tfx_feeder.components.feeder_trainer.model.user_module import UserCode
from tfx_feeder.components.feeder_trainer.model.warm_start import save_for_warm_start
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.train import TrainSpec, train
from tfx_feeder.components.feeder_trainer.training.early_stopping import BaselineEarlyStopping
from tfx_feeder.components.feeder_trainer.training.options import TrainingOptions

pytestmark = [pytest.mark.slow, pytest.mark.multi_worker]

MODULE = """
import keras

class Network(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(16, activation="relu")
        self.scores = keras.layers.Dense(10, activation="softmax")

    def call(self, features):
        image = keras.ops.cast(keras.ops.reshape(features["image"], (-1, 64)), "float32")
        return self.scores(self.hidden(image / 255))

def model_fn(context):
    model = Network()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model

def augment_fn(features, seed):
    return features

class EveryBatch(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        assert logs["loss"] > 0

    def on_test_batch_end(self, batch, logs=None):
        assert logs["loss"] > 0

def callbacks_fn(context):
    return [keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2), EveryBatch()]
"""

NORMALIZED = MODULE.replace(
    "self.hidden = ",
    "self.norm = keras.layers.BatchNormalization()\n        self.hidden = ",
).replace(
    "self.hidden(image / 255)",
    "self.hidden(self.norm(image / keras.ops.sum(image, 1, keepdims=True)))",
)
"""With moving averages, which an image of zeros would turn into NaN."""

STRATEGIES = [
    SingleDevice(),
    Mirrored(("CPU:0", "CPU:1"), lr_scaling="linear"),
    CentralStorage(("CPU:0", "CPU:1")),
    MultiWorker("local:2"),
    ParameterServer("local:2", lr_scaling="staleness"),
    SynchronousParameterServer("local:2"),
    PeerAveraging("local:2"),
]


@pytest.fixture
def job(
    tmp_path: Path, digit_files: list[str], digits_spec: dict[str, Any]
) -> Callable[[Strategy], TrainSpec]:
    module = tmp_path / "model.py"
    module.write_text(MODULE)
    feed = FeedOptions(images={"image": Image(8, 8, 1)}, eval_batch_size=64, cache="none")

    def make(strategy: Strategy) -> TrainSpec:
        return TrainSpec(
            fit=FitSpec(
                code=UserCode(module_file=str(module)),
                context=ModelContext(digits_spec, feed),
                schedule=Schedule.from_value("0.02:33x2, 0.01:64x1"),
                strategy=strategy,
                train_files=digit_files,
                eval_files=digit_files,
                checkpoint_dir=str(tmp_path / "checkpoints"),
            ),
            raw_feature_spec=digits_spec,
            transform=None,
            serving_dir=str(tmp_path / "serving"),
            keras_dir=str(tmp_path / "keras"),
            log_dir=str(tmp_path / "logs"),
            profile_dir=str(tmp_path / "probes"),
        )

    return make


@pytest.fixture(scope="module")
def baseline(digit_files: list[str], digits_spec: dict[str, Any], tmp_path_factory) -> str:
    """A model that is better than what a few epochs can come to; returns its folder."""
    folder = tmp_path_factory.mktemp("baseline")
    (folder / "model.py").write_text(MODULE.partition("def callbacks_fn")[0])
    spec = FitSpec(
        code=UserCode(module_file=str(folder / "model.py")),
        context=ModelContext(digits_spec, FeedOptions(images={"image": Image(8, 8, 1)})),
        schedule=Schedule.from_value("0.01:32x20"),
        strategy=SingleDevice(),
        train_files=digit_files,
        eval_files=[],
        checkpoint_dir=str(folder / "checkpoints"),
    )
    with open_fit_context(spec) as context:
        run(spec, context)
        save_for_warm_start(context.model.keras_model, folder)
    return str(folder)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.name)
def test_it_trains_gives_up_exports_and_records(
    strategy: Strategy,
    job: Callable[[Strategy], TrainSpec],
    baseline: str,
    digits: Any,
    serialize: Callable,
) -> None:
    made = job(strategy)
    beside = {
        "schedule": Schedule.from_value("0.02:33x2, 0.01:64x12"),
        "baseline": baseline,
        "training": TrainingOptions(early_stopping=BaselineEarlyStopping("val_accuracy", "max")),
    }
    made = dataclasses.replace(made, fit=dataclasses.replace(made.fit, **beside))

    history = train(made)

    assert history.strategy == strategy.name
    assert history.placement is not None
    # Asynchronous workers take a whole batch each.
    replicas = 1 if strategy.name in ("sequential", "parameter_server") else 2
    assert (history.placement.replicas, history.placement.attempts) == (replicas, 1)
    # 200 examples in batches of 33 and of 64: nothing is lost in the remainders.
    sizes = [(row.steps, row.examples) for row in history.epochs]
    assert sizes[:3] == [(7, 200), (7, 200), (4, 200)]
    messages = {event.kind: event.message for event in history.events}
    assert "The base model has val_accuracy 0.9" in messages["baseline_metric"]
    assert f"after {len(sizes)} epochs" in messages["early_stop"]
    assert len(sizes) < 14
    factor = {"linear": 2, "staleness": 0.5}.get(getattr(strategy, "lr_scaling", "none"), 1)
    rates = [row.learning_rate for row in history.epochs[:3]]
    # A callback of the chief's halves the rate at each epoch; a phase sets its own.
    np.testing.assert_allclose(rates, np.array([0.01, 0.005, 0.005]) * factor, rtol=1e-5)
    assert history.epochs[-1].metrics["val_accuracy"] > 0.15
    assert not Path(made.fit.checkpoint_dir).exists()
    served = tf.saved_model.load(made.serving_dir).signatures["serving_default"]
    examples = [serialize(row) for row in digits.rows()[:9]]
    (scores,) = served(examples=tf.constant(examples)).values()
    assert scores.shape == (9, 10)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("strategy", [MultiWorker("local:2"), PeerAveraging("local:2")])
@pytest.mark.parametrize("feeding", [{"sharding": "file"}, {"service": "local:1"}])
def test_each_process_reads_its_part_of_the_files(
    strategy: Strategy,
    feeding: dict[str, Any],
    job: Callable[[Strategy], TrainSpec],
    tmp_path: Path,
    digits: Any,
    serialize: Callable,
) -> None:
    made = job(strategy)
    (tmp_path / "model.py").write_text(NORMALIZED)
    feed = dataclasses.replace(made.fit.context.feed, cache="auto", **feeding)
    context = dataclasses.replace(made.fit.context, feed=feed)
    schedule = Schedule.from_value("0.02:33x2, 0.01:199x2")

    history = train(
        dataclasses.replace(
            made, fit=dataclasses.replace(made.fit, context=context, schedule=schedule)
        )
    )

    # The last batch of 1 example leaves one of the two processes without any.
    assert [(row.steps, row.examples) for row in history.epochs] == 2 * [(7, 200)] + 2 * [(2, 200)]
    # A batch of one example moves the averages of BatchNormalization too far for a good accuracy.
    assert history.epochs[-1].metrics["loss"] < history.epochs[0].metrics["loss"]
    # What was validated is what is served, also the averages.
    model = tf.saved_model.load(made.serving_dir).signatures["serving_default"]
    examples = [serialize(row) for row in digits.rows()]
    (scores,) = model(examples=tf.constant(examples)).values()
    loss = keras.losses.SparseCategoricalCrossentropy()(digits.labels, scores)
    assert history.epochs[-1].metrics["val_loss"] == pytest.approx(float(loss), rel=1e-4)
    served = "read by tf.data service grpc://localhost:"
    expected = served if "service" in feeding else "part 1 of 2 of the files"
    assert expected in history.feed["cache_chosen"]


def test_a_trainer_that_leaves_the_gpus_to_processes_profiles_and_trains_in_them(
    job: Callable[[Strategy], TrainSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfx_feeder.components.feeder_trainer.train.reserve_gpus", lambda _: False)

    history = train(job(Auto(candidates=("sequential",))))

    assert history.strategy == "sequential"
    assert history.chosen is not None
    assert history.chosen.probe is not None
    assert history.chosen.probe["start_s"] > 0
    assert (tmp_path / "logs" / "process.log").exists()


def test_the_time_to_train_chooses_and_is_compared_with_what_happened(
    job: Callable[[Strategy], TrainSpec],
) -> None:
    auto = Auto("10m", candidates=("mirrored",), device_cost_per_hour={"mirrored": 0.001})

    history = train(job(auto))

    rows = {row.strategy: row for row in history.candidates}
    assert set(rows) == {"sequential", "mirrored"}
    assert history.strategy == "mirrored", rows
    assert history.chosen is rows["mirrored"]
    assert rows["mirrored"].cost < rows["sequential"].cost
    assert rows["mirrored"].actual_s > 0
    assert history.placement is not None
    assert history.placement.strategy["name"] == "mirrored"
