"""One training from files to exported model: its record, its callbacks, and warm starts."""

import dataclasses
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError, DataError
from tfx_feeder.components.feeder_trainer import train as train_module
from tfx_feeder.components.feeder_trainer.distribution import fit as fit_module
from tfx_feeder.components.feeder_trainer.distribution.context import DistributionContext
from tfx_feeder.components.feeder_trainer.distribution.fit import (
    FitSpec,
    fit,
    open_fit_context,
    run,
)
from tfx_feeder.components.feeder_trainer.distribution.launcher.supervisor import LaunchResult
from tfx_feeder.components.feeder_trainer.distribution.options import (
    Mirrored,
    MultiWorker,
    SingleDevice,
)
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image
from tfx_feeder.components.feeder_trainer.model.builder import ModelContext
from tfx_feeder.components.feeder_trainer.model.user_module import UserCode
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.schedules.time_model import TimePrediction
from tfx_feeder.components.feeder_trainer.train import TrainSpec, train
from tfx_feeder.components.feeder_trainer.training.options import TrainingOptions
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder
from tfx_feeder.components.feeder_trainer.training.train_step import CompiledSteps
from tfx_feeder.schemas.training_history import CandidateRecord, History

MODULE = """
import keras

def model_fn(context):
    image = keras.Input((8, 8, 1), name="image", dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Dense((context.hyperparameters or {}).get("width", 16), activation="relu")(x)
    model = keras.Model(image, keras.layers.Dense(10, activation="softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model

def callbacks_fn(context):
    return [keras.callbacks.EarlyStopping("loss", min_delta=10, patience=context.custom_config)]
"""

SIGNATURES = """
import tensorflow as tf

def signatures_fn(model, examples, context):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def digit(serialized):
        return {"digit": tf.argmax(model(examples.to_model_inputs(serialized)), 1)}

    return {"digit": digit} if context.custom_config else {"digit": len}
"""

FIT_FIELDS = {field.name for field in dataclasses.fields(FitSpec)}


@pytest.fixture
def job(
    tmp_path: Path, digit_files: list[str], digits_spec: dict[str, Any]
) -> Callable[..., TrainSpec]:
    module = tmp_path / "model.py"
    module.write_text(MODULE)

    def make(name: str = "run", **changes: Any) -> TrainSpec:
        context = {
            "feature_spec": digits_spec,
            "feed": FeedOptions(images={"image": Image(8, 8, 1)}, eval_batch_size=64),
            "hyperparameters": changes.pop("hyperparameters", None),
            "custom_config": changes.pop("patience", 99),
        }
        fit = {
            "code": UserCode(module_file=str(module)),
            "context": ModelContext(**context),
            "schedule": Schedule([(0.01, 32, 2)]),
            "strategy": SingleDevice(),
            "train_files": digit_files,
            "eval_files": digit_files,
            "checkpoint_dir": str(tmp_path / name / "checkpoints"),
        }
        changed = {key: changes.pop(key) for key in list(changes) if key in FIT_FIELDS}
        return TrainSpec(
            **{
                "fit": FitSpec(**fit | changed),
                "raw_feature_spec": digits_spec,
                "transform": None,
                "serving_dir": str(tmp_path / name / "serving"),
                "keras_dir": str(tmp_path / name / "keras"),
                "log_dir": str(tmp_path / name / "logs"),
                **changes,
            }
        )

    return make


def test_a_training_leaves_model_record_and_logs(
    job: Callable[..., TrainSpec], digits: Any, serialize: Callable
) -> None:
    made = job()

    history = train(made)

    assert history.num_examples == 200
    assert [row.steps for row in history.epochs] == [7, 7]
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} == set(history.epochs[-1].metrics)
    assert history.code_fingerprint == made.fit.code.fingerprint()
    assert history.schedule == made.fit.schedule.to_dict()
    assert not Path(made.fit.checkpoint_dir).exists()
    assert list(Path(made.log_dir).rglob("events*"))
    served = tf.saved_model.load(made.serving_dir).signatures["serving_default"]
    examples = [serialize({"image": row["image"]}) for row in digits.rows()[:9]]
    (scores,) = served(examples=tf.constant(examples)).values()
    saved = keras.models.load_model(Path(made.keras_dir) / "model.keras")
    np.testing.assert_allclose(scores, saved(digits.images[:9]), rtol=1e-4, atol=1e-6)


def test_a_second_training_of_a_process_has_the_same_names_of_metrics(
    job: Callable[..., TrainSpec], tmp_path: Path
) -> None:
    module = tmp_path / "auc.py"
    module.write_text(
        MODULE.replace('["accuracy"]', "[keras.metrics.MeanIoU(10, sparse_y_pred=False)]").replace(
            '("loss", min_delta=10', '("val_mean_io_u", min_delta=10'
        )
    )
    code = UserCode(module_file=str(module))

    schedule = Schedule([(0.01, 100, 4)])
    first, second = (
        train(job(name, code=code, patience=1, schedule=schedule)) for name in ("first", "second")
    )

    assert len(first.epochs) == len(second.epochs) == 2  # A callback has found its metric.
    assert second.epochs[-1].metrics.keys() == first.epochs[-1].metrics.keys()


def test_checkpoints_are_kept_until_all_outputs_are_written(job: Callable[..., TrainSpec]) -> None:
    made = job(training=TrainingOptions(checkpoint_every_examples=200))

    def fail(_: History) -> None:
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        train(made, complete=fail)
    completed: list[History] = []
    history = train(made, complete=completed.append)

    assert completed == [history]
    assert [e.examples_seen for e in history.events if e.kind == "resume"] == [400]
    assert not Path(made.fit.checkpoint_dir).exists()


def test_the_time_of_a_resumed_run_includes_its_earlier_attempts() -> None:
    recorder = Recorder()
    recorder.restore({**Recorder().state(), "seconds": 200.0})
    prediction = TimePrediction(seconds=100.0, low_s=95.0, high_s=110.0, epoch_end_s=(50.0, 100.0))
    spec: Any = SimpleNamespace(prediction=prediction, began_at=time.time())
    eta = fit_module._eta(spec, recorder)
    assert eta is not None
    assert "took 3m20s instead of 50s" in str(eta(1))

    candidate = CandidateRecord("mirrored", 2, (), None, 100.0, 95.0, 110.0, None, "chosen", "")
    selection: Any = SimpleNamespace(
        choice=SimpleNamespace(to_rows=lambda: [candidate], warning="")
    )
    details: dict[str, Any] = {"strategy": "", "num_examples": 1, "code_fingerprint": ""}
    history = recorder.build(schedule={}, feed={}, **details)
    history = train_module._with_candidates(history, selection, spec.began_at)
    assert history.chosen is not None
    assert history.chosen.actual_s == pytest.approx(200, abs=20)


def test_signatures_of_the_module_are_exported_and_checked_before_the_first_step(
    job: Callable[..., TrainSpec], tmp_path: Path, digits: Any, serialize: Callable
) -> None:
    module = tmp_path / "signatures.py"
    module.write_text(MODULE.partition("def callbacks_fn")[0] + SIGNATURES)
    code = UserCode(module_file=str(module))
    made = job(code=code, schedule=Schedule([(0.01, 32, 1)]), eval_files=[])

    train(made)

    signatures = tf.saved_model.load(made.serving_dir).signatures
    examples = tf.constant([serialize({"image": digits.rows()[0]["image"]})])
    scores = signatures["serving_default"](examples=examples)["output_0"]
    assert signatures["digit"](examples=examples)["digit"] == tf.argmax(scores, 1)
    with pytest.raises(ConfigError, match=r"signatures_fn.*input_signature"):
        train(job("wrong", code=code, patience=0))
    assert not (tmp_path / "wrong" / "logs").exists()


def test_callbacks_of_the_module_are_used(job: Callable[..., TrainSpec]) -> None:
    history = train(job(patience=1, schedule=Schedule([(0.01, 32, 9)]), eval_files=[]))

    assert len(history.epochs) == 2
    assert "val_loss" not in history.epochs[-1].metrics


@pytest.mark.slow
def test_a_warm_start_takes_the_weights_and_a_fresh_optimizer(
    job: Callable[..., TrainSpec],
) -> None:
    base = job("base", schedule=Schedule([(0.01, 32, 6)]))
    first = train(base)

    warm = job(schedule=Schedule([(1e-9, 32, 1)]), start_from=base.keras_dir)
    second = train(warm)

    saved = keras.models.load_model(Path(warm.keras_dir) / "model.keras")
    assert int(saved.optimizer.iterations) == second.epochs[-1].steps == 7

    assert [event.kind for event in second.events if "start" in event.kind] == ["warm_start"]
    assert second.epochs[0].metrics["val_loss"] == pytest.approx(
        first.epochs[-1].metrics["val_loss"], rel=1e-4
    )


@pytest.mark.slow
def test_another_architecture_is_an_error_or_an_event(job: Callable[..., TrainSpec]) -> None:
    base = job("base")
    train(base)
    wider = {"start_from": base.keras_dir, "hyperparameters": {"width": 17}}

    with pytest.raises(ConfigError, match=r"base_model.*architecture differs.*compatible"):
        train(job("strict", **wider))
    history = train(job("compatible", strict_start=False, **wider))

    assert [event.kind for event in history.events if "start" in event.kind] == ["cold_start"]


OUTPUTS = """
import keras

def model_fn(context):
    image = keras.Input((8, 8, 1), name="image", dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    outputs = {
        "digit": keras.layers.Dense(10, activation="softmax", name="digit")(x),
        "size": keras.layers.Dense(1, name="size")(x),
    }
    model = keras.Model(image, outputs)
    model.compile(
        "adam",
        loss={"digit": "sparse_categorical_crossentropy", "size": "mse"},
        metrics={"digit": ["accuracy"]},
    )
    return model
"""


def test_a_model_with_several_outputs_gets_a_target_for_each(
    job: Callable[..., TrainSpec],
    tmp_path: Path,
    digits_spec: dict[str, Any],
    digits: Any,
    serialize: Callable,
) -> None:
    module = tmp_path / "outputs.py"
    module.write_text(OUTPUTS)
    feed = FeedOptions(
        images={"image": Image(8, 8, 1)}, label_key={"digit": "label", "size": "label"}
    )
    made = job(code=UserCode(module_file=str(module)), context=ModelContext(digits_spec, feed))

    history = train(made)

    assert {"loss", "digit_loss", "size_loss", "digit_accuracy"} <= set(history.epochs[0].metrics)
    assert history.epochs[1].metrics["loss"] < history.epochs[0].metrics["loss"]
    served = tf.saved_model.load(made.serving_dir).signatures["serving_default"]
    assert set(served.structured_outputs) == {"digit", "size"}


NESTED = """
import keras

class Nested(keras.Model):
    def __init__(self):
        super().__init__()
        self.flat, self.out = keras.layers.Flatten(), keras.layers.Dense(10, "softmax")

    def call(self, inputs):
        x = self.flat(inputs["image"])
        return {"scores": self.out(x), "parts": [x, x]}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        losses = keras.losses.sparse_categorical_crossentropy(y, y_pred["scores"])
        return keras.ops.mean(losses)

def model_fn(context):
    model = Nested()
    model.compile("sgd")
    return model
"""


def test_outputs_that_cannot_be_exported_are_refused_before_the_first_step(
    job: Callable[..., TrainSpec], tmp_path: Path
) -> None:
    module = tmp_path / "nested.py"
    module.write_text(NESTED)
    made = job(code=UserCode(module_file=str(module)))

    with pytest.raises(ConfigError, match=r"exported.*outputs hold a"):
        train(made)

    assert not Path(made.log_dir).exists()


NOISY = """
import keras

class Noise(keras.layers.Layer):
    def call(self, inputs, training=False):
        return inputs + keras.random.normal(keras.ops.shape(inputs)) if training else inputs

def model_fn(context):
    image = keras.Input((8, 8, 1), name="image", dtype="uint8")
    x = keras.layers.Dropout(0.1)(keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image)))
    model = keras.Model(image, keras.layers.Dense(10, activation="softmax")(Noise()(x)))
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model
"""


def test_trainings_in_one_process_draw_the_same_random_numbers(
    job: Callable[..., TrainSpec], tmp_path: Path
) -> None:
    module = tmp_path / "noisy.py"
    module.write_text(NOISY)
    code = UserCode(module_file=str(module))

    losses = [
        fit(job(name, code=code, eval_files=[]).fit).history.epochs[-1].metrics["loss"]
        for name in ("first", "second")
    ]

    assert losses[0] == losses[1]


UNLABELED = """
import keras

class Denoiser(keras.Model):
    def train_step(self, data):
        return super().train_step((data["image"], data["image"]))

    def test_step(self, data):
        return super().test_step((data["image"], data["image"]))

def model_fn(context):
    first, = next(iter(context.dataset()))
    assert first["image"].shape[1:] == (8, 8, 1)
    image = keras.Input((8, 8, 1), name="image", dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(image)
    kind = Denoiser if context.custom_config else keras.Model
    outputs = keras.layers.Rescaling(255)(keras.layers.Conv2D(1, 3, padding="same")(x))
    model = kind({"image": image}, outputs)
    model.compile(keras.optimizers.SGD(), "mae", metrics=["mse"])
    return model
"""


def test_a_model_that_makes_its_targets_needs_no_label(
    job: Callable[..., TrainSpec],
    tmp_path: Path,
    digits_spec: dict[str, Any],
    digit_files: list[str],
    digits: Any,
    serialize: Callable,
) -> None:
    module = tmp_path / "unlabeled.py"
    module.write_text(UNLABELED)
    feed = FeedOptions(images={"image": Image(8, 8, 1)}, label_key=None)

    def made(name: str, own_steps: bool) -> TrainSpec:
        context = ModelContext(
            digits_spec,
            feed,
            custom_config={"x": 1} if own_steps else None,
            train_files=tuple(digit_files),
        )
        return job(name, code=UserCode(module_file=str(module)), context=context)

    history = train(made("own", True))

    assert {"loss", "mse", "val_loss", "val_mse"} == set(history.epochs[0].metrics)
    assert history.feed["label_key"] is None
    served = tf.saved_model.load(str(tmp_path / "own" / "serving")).signatures["serving_default"]
    (images,) = served(
        examples=tf.constant([serialize({"image": row["image"]}) for row in digits.rows()[:3]])
    ).values()
    assert images.shape == (3, 8, 8, 1)
    with pytest.raises(ConfigError, match=r"label_key: .*compiled with loss and metrics"):
        train(made("keras", False))


DRAWN = """
import keras
import numpy as np
import tensorflow as tf

class Scaled(keras.layers.Layer):
    def build(self, _):
        self.largest = tf.Variable(1e-3, trainable=False)

    def call(self, x, training=False):
        if training:
            self.largest.assign(tf.maximum(self.largest, tf.reduce_max(x)))
        return x / self.largest

def model_fn(context):
    image = keras.Input((8, 8, 1), name="image", dtype="uint8")
    x = Scaled()(keras.ops.cast(keras.layers.Flatten()(image), "float32"))
    frequencies = np.random.normal(size=(64, 16)).astype("float32")
    x = keras.ops.sin(keras.ops.matmul(x, frequencies))
    model = keras.Model(image, keras.layers.Dense(10, activation="softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model
"""


def test_the_model_that_other_processes_trained_is_exported(
    job: Callable[..., TrainSpec],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    digits: Any,
    serialize: Callable,
) -> None:
    def run_here(function: Callable, spec: FitSpec, *_: Any) -> LaunchResult:
        result = function(dataclasses.replace(spec, strategy=SingleDevice()))
        np.random.seed(9)  # The Trainer's own process has drawn other numbers.
        return LaunchResult(pickle.loads(pickle.dumps(result)))

    monkeypatch.setattr(train_module, "run_in_processes", run_here)
    module = tmp_path / "drawn.py"
    module.write_text(DRAWN)
    made = job(code=UserCode(module_file=str(module)), strategy=Mirrored())

    history = train(made)

    served = tf.saved_model.load(made.serving_dir).signatures["serving_default"]
    examples = [serialize({"image": row["image"]}) for row in digits.rows()]
    (scores,) = served(examples=tf.constant(examples)).values()
    loss = keras.losses.SparseCategoricalCrossentropy()(digits.labels, scores)
    assert float(loss) == pytest.approx(history.epochs[-1].metrics["val_loss"], rel=1e-5)


def test_a_process_that_reads_other_files_than_the_chief_is_refused(
    job: Callable[..., TrainSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    group = SimpleNamespace(size=2, is_chief=False, broadcast=lambda _: [200.0, 199.0])
    context = DistributionContext(CompiledSteps, process_group=group)
    monkeypatch.setattr(fit_module, "open_context", lambda *_: context)

    with (
        pytest.raises(DataError, match=r"reads \[200, 200\] .* the chief \[200, 199\]"),
        open_fit_context(job().fit),
    ):
        pass


def test_several_workers_refuse_a_callback_that_saves_the_model(
    job: Callable[..., TrainSpec], tmp_path: Path
) -> None:
    saves = 'return [keras.callbacks.ModelCheckpoint("model.keras")]'
    before, _, _ = MODULE.partition("return [keras.callbacks")
    (tmp_path / "model.py").write_text(before + saves)
    spec = job().fit
    with open_fit_context(spec) as context, pytest.raises(ConfigError, match="ModelCheckpoint"):
        run(dataclasses.replace(spec, strategy=MultiWorker("local:2")), context)
