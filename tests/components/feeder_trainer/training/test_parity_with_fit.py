"""Our loop against ``fit()`` on the same batches: same weights, same metrics, same callbacks."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.feed import Feed, open_feed
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser
from tfx_feeder.components.feeder_trainer.model.builder import feature_adapter
from tfx_feeder.components.feeder_trainer.schedules.policy import make_plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.training.loop import TrainingLoop
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder
from tfx_feeder.components.feeder_trainer.training.train_step import CompiledSteps, StepOptions

RATE, BATCH, EPOCHS, EVAL_BATCH = 0.01, 32, 3, 64
OPTIONS = FeedOptions(images={"image": Image(8, 8, 1)}, cache="memory", eval_batch_size=EVAL_BATCH)

Outcome = dict[str, Any]


class OwnTrainStep(keras.Model):
    """Takes twice the gradient, and updates the metrics itself."""

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred)
        weights = self.trainable_weights
        gradients = [2 * gradient for gradient in tape.gradient(loss, weights)]
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, y_pred)
        return self.get_metrics_result()


class OwnComputeLoss(keras.Model):
    """Adds a penalty on large outputs."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        loss = super().compute_loss(x, y, y_pred, sample_weight, **kwargs)
        return loss + 1e-3 * keras.ops.mean(keras.ops.square(y_pred))


class OwnCompute(keras.Model):
    """Overrides what ``fit()`` calls to update the metrics."""

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, y, 2 * y_pred, sample_weight)


def _model(
    kind: type[keras.Model] = keras.Model,
    *,
    regularizer: Any = None,
    normalise: bool = False,
    activity: float = 0.0,
    dtype: str | None = None,
    optimizer: Any = None,
    **compiled: Any,
) -> keras.Model:
    image = keras.Input((8, 8, 1), name="image", dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Dense(16, kernel_regularizer=regularizer, dtype=dtype)(x)
    if normalise:
        x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ActivityRegularization(l2=activity)(keras.layers.ReLU(dtype=dtype)(x))
    model = kind(image, keras.layers.Dense(10, dtype="float32")(x))
    compiled.setdefault("metrics", ["accuracy"])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer or keras.optimizers.Adam(RATE), loss=loss, **compiled)
    return model


@pytest.fixture(scope="module")
def feeds(digit_files: list[str], digits_spec: dict) -> Callable[[str | None], Feed]:
    """Opens the digits, with or without weights; twice the same order."""

    def open_(weight_key: str | None) -> Feed:
        options = FeedOptions(**{**_fields(OPTIONS), "weight_key": weight_key})
        parser = ExampleParser(digits_spec, options, ["image"])
        return open_feed(digit_files, parser, options, shuffle=True)

    return open_


def _fields(options: FeedOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in FeedOptions.__dataclass_fields__}


def _fit(
    model: keras.Model, feed: Feed, callbacks: list, class_weight: dict | None = None
) -> Outcome:
    n = feed.num_examples
    adapt = feature_adapter(model, ["image"])

    def adapted(ranges: list[range], batch_size: int) -> tf.data.Dataset:
        batches = feed.batches(ranges, batch_size)
        count = sum(-(-len(positions) // batch_size) for positions in ranges)
        sized = batches.apply(tf.data.experimental.assert_cardinality(count))
        return sized.map(lambda features, *rest: (adapt(features), *rest))

    history = model.fit(
        adapted([range(i * n, (i + 1) * n) for i in range(EPOCHS)], BATCH),
        epochs=EPOCHS,
        steps_per_epoch=-(-n // BATCH),
        validation_data=adapted([range(n)], EVAL_BATCH),
        callbacks=callbacks,
        class_weight=class_weight,
        verbose=0,
    ).history
    history.pop("learning_rate", None)
    return {"weights": model.get_weights(), "history": history}


def _loop(
    model: keras.Model, feed: Feed, callbacks: list, class_weight: dict | None = None
) -> Outcome:
    adapt = feature_adapter(model, ["image"])
    steps = CompiledSteps(model, adapt, StepOptions(class_weight=class_weight))
    steps.build(next(iter(feed.batches([range(1)], 1))))
    recorder = Recorder()
    schedule = Schedule([(RATE, BATCH, EPOCHS)])
    TrainingLoop(
        steps,
        feed,
        make_plan(schedule, feed.num_examples),
        recorder,
        validation=feed,
        validation_batch_size=EVAL_BATCH,
        callbacks=callbacks,
        probe=False,
    ).run()
    rows = recorder.build(
        schedule={}, strategy="", feed={}, num_examples=0, code_fingerprint=""
    ).epochs
    history = {name: [row.metrics[name] for row in rows] for name in rows[0].metrics}
    return {"weights": model.get_weights(), "history": history}


def _assert_same(ours: Outcome, theirs: Outcome, tolerance: float = 2e-4) -> None:
    assert sorted(ours["history"]) == sorted(theirs["history"])
    for name, values in theirs["history"].items():
        np.testing.assert_allclose(ours["history"][name], values, rtol=tolerance, atol=tolerance)
    for own, other in zip(ours["weights"], theirs["weights"], strict=True):
        np.testing.assert_allclose(own, other, rtol=tolerance, atol=tolerance)


MODELS: dict[str, Callable[[], keras.Model]] = {
    "plain": _model,
    "momentum": lambda: _model(optimizer=keras.optimizers.SGD(RATE, momentum=0.9)),
    "gradient clipping": lambda: _model(optimizer=keras.optimizers.Adam(RATE, clipnorm=0.1)),
    "averaged weights": lambda: _model(optimizer=keras.optimizers.Adam(RATE, use_ema=True)),
    "batch normalisation": lambda: _model(normalise=True),
    "regularisation": lambda: _model(regularizer="l2", activity=1e-3),
    "own train_step": lambda: _model(OwnTrainStep),
    "own compute_loss": lambda: _model(OwnComputeLoss),
    "own compute_metrics": lambda: _model(OwnCompute),
    "mixed precision": lambda: _model(dtype="mixed_bfloat16"),
    "loss scaling": lambda: _model(
        dtype="mixed_float16",
        optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(RATE)),
    ),
    "no metrics": lambda: _model(metrics=[]),
}


FAST = {"plain", "own train_step", "batch normalisation", "each epoch", "each batch"}


def _slow_unless(fast: bool, value: Any, name: str) -> Any:
    return pytest.param(value, id=name, marks=() if fast else pytest.mark.slow)


@pytest.mark.parametrize("name", [_slow_unless(name in FAST, name, name) for name in MODELS])
def test_same_weights_and_metrics(feeds: Callable, name: str) -> None:
    feed = feeds(None)
    outcomes = []
    for train in (_loop, _fit):
        keras.utils.set_random_seed(1)
        outcomes.append(train(MODELS[name](), feed, []))

    _assert_same(*outcomes, tolerance=2e-3 if "mixed" in name or "scaling" in name else 2e-4)


def test_same_with_sample_weights(feeds: Callable) -> None:
    feed = feeds("weight")
    outcomes = []
    for train in (_loop, _fit):
        keras.utils.set_random_seed(1)
        model = _model(weighted_metrics=["sparse_categorical_crossentropy", "accuracy"])
        outcomes.append(train(model, feed, []))

    _assert_same(*outcomes)


def test_same_with_class_weights(feeds: Callable) -> None:
    feed, class_weight = feeds(None), {0: 3.0, 2: 0.5, 9: 2.0}
    outcomes = []
    for train in (_loop, _fit):
        keras.utils.set_random_seed(1)
        outcomes.append(train(_model(), feed, [], class_weight))

    _assert_same(*outcomes)


def test_classes_above_those_with_a_weight_count_once(feeds: Callable) -> None:
    outcomes = []
    for class_weight in ({2: 3.0}, {2: 3.0, 9: 1.0}):
        keras.utils.set_random_seed(1)
        outcomes.append(_loop(_model(), feeds(None), [], class_weight))

    _assert_same(*outcomes)


class Hooks(keras.callbacks.Callback):
    """Takes down every hook in turn, with the names of its logs."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple] = []

    def _note(self, hook: str, index: int | None, logs: Any) -> None:
        self.calls.append((hook, index, sorted(logs or {})))


def _noting(hook: str) -> Callable[..., None]:
    if "epoch" in hook or "batch" in hook:
        return lambda self, index, logs=None: self._note(hook, index, logs)
    return lambda self, logs=None: self._note(hook, None, logs)


ALL_HOOKS = [
    f"on_{what}_{when}"
    for what in ("train", "test", "epoch", "train_batch", "test_batch")
    for when in ("begin", "end")
]
EveryHook = type("EveryHook", (Hooks,), {hook: _noting(hook) for hook in ALL_HOOKS})
EpochHooks = type(
    "EpochHooks", (Hooks,), {hook: _noting(hook) for hook in ALL_HOOKS if "batch" not in hook}
)


class BatchLogs(keras.callbacks.Callback):
    """Takes down the running loss after each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.losses.append(logs["loss"])


class StopsInTheMiddle(keras.callbacks.Callback):
    """Ends the training at the third batch of the second epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.epoch == 1 and batch == 2:
            self.model.stop_training = True


class Params(keras.callbacks.Callback):
    """Takes down what ``fit()`` tells callbacks about the training."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.seen = {name: self.params[name] for name in ("epochs", "steps")}


def _csv(path: Path) -> list[tuple[str, float]]:
    with (path / "log.csv").open() as file:
        return [(key, float(text)) for row in csv.DictReader(file) for key, text in row.items()]


def _tags(path: Path) -> set[tuple[str, str, int]]:
    found = set()
    for file in path.rglob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            found |= {(file.parent.name, v.tag, event.step) for v in event.summary.value}
    return {entry for entry in found if entry[1].startswith("epoch")}


def _files(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir())


def _rate(model: keras.Model) -> float:
    return float(model.optimizer.learning_rate.numpy())


K = keras.callbacks
CALLBACKS: dict[str, tuple[Callable[[Path], Any], Callable[[Any, Path, keras.Model], Any]]] = {
    "every hook": (lambda path: EveryHook(), lambda callback, *_: callback.calls),
    "epoch hooks": (lambda path: EpochHooks(), lambda callback, *_: callback.calls),
    "batch logs": (lambda path: BatchLogs(), lambda callback, *_: callback.losses),
    "params": (lambda path: Params(), lambda callback, *_: callback.seen),
    "stop in the middle": (lambda path: StopsInTheMiddle(), lambda *_: None),
    "EarlyStopping": (
        lambda path: K.EarlyStopping("loss", min_delta=10, patience=1, restore_best_weights=True),
        lambda callback, *_: (callback.stopped_epoch, callback.best_epoch),
    ),
    "ModelCheckpoint": (
        lambda path: K.ModelCheckpoint(path / "{epoch}.keras", "val_loss", save_best_only=True),
        lambda callback, path, _: _files(path),
    ),
    "ModelCheckpoint by batches": (
        lambda path: K.ModelCheckpoint(
            path / "{epoch}-{batch}.weights.h5", save_weights_only=True, save_freq=5
        ),
        lambda callback, path, _: _files(path),
    ),
    "ReduceLROnPlateau": (
        lambda path: K.ReduceLROnPlateau("loss", factor=0.5, min_delta=10, patience=1),
        lambda callback, path, model: _rate(model),
    ),
    "LearningRateScheduler": (
        lambda path: K.LearningRateScheduler(lambda epoch, rate: rate / (1 + epoch)),
        lambda callback, path, model: _rate(model),
    ),
    "CSVLogger": (
        lambda path: K.CSVLogger(path / "log.csv"),
        lambda callback, path, _: _csv(path),
    ),
    "TensorBoard": (
        lambda path: K.TensorBoard(path, write_graph=False),
        lambda callback, path, _: _tags(path),
    ),
    "LambdaCallback": (
        lambda path: _lambda_callback(),
        lambda callback, *_: callback.batches,
    ),
    "History": (lambda path: K.History(), lambda callback, *_: callback.epoch),
}


def _lambda_callback() -> keras.callbacks.Callback:
    batches: list[int] = []
    callback = K.LambdaCallback(on_train_batch_end=lambda batch, logs: batches.append(batch))
    callback.batches = batches
    return callback


TOGETHER = {
    "each epoch": ["epoch hooks", "params", "History", "ModelCheckpoint", "CSVLogger"],
    "each batch": ["every hook", "batch logs", "LambdaCallback", "ModelCheckpoint by batches"],
    "LearningRateScheduler": ["LearningRateScheduler"],
    "ReduceLROnPlateau": ["ReduceLROnPlateau"],
    "EarlyStopping": ["EarlyStopping"],
    "stop in the middle": ["stop in the middle"],
    "TensorBoard": ["TensorBoard"],
}


@pytest.mark.parametrize(
    "names", [_slow_unless(name in FAST, names, name) for name, names in TOGETHER.items()]
)
def test_callbacks_do_what_they_do_in_fit(
    feeds: Callable, tmp_path: Path, names: list[str]
) -> None:
    feed = feeds(None)
    results, seen = [], []
    for train in (_loop, _fit):
        keras.utils.set_random_seed(1)
        folders = [tmp_path / train.__name__ / name for name in names]
        for folder in folders:
            folder.mkdir(parents=True)
        model = _model()
        callbacks = [CALLBACKS[name][0](path) for name, path in zip(names, folders, strict=True)]
        results.append(train(model, feed, callbacks))
        cases = zip(names, callbacks, folders, strict=True)
        seen.append({name: CALLBACKS[name][1](c, folder, model) for name, c, folder in cases})

    for name in names:
        _assert_alike(seen[0][name], seen[1][name])
    _assert_same(*results)


class OwnMetric(keras.callbacks.Callback):
    """Adds a metric of its own to the logs, and changes one; reads the history so far."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[float]] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seen.append(list(self.model.history.history.get("val_own", [])))
        logs["val_own"] = 1 / (1 + epoch)
        logs["accuracy"] = 2 * logs["accuracy"]
        logs["comment"] = "no number"


@pytest.mark.parametrize("wrapped", [lambda callback: callback, lambda callback: [[callback]]])
def test_what_callbacks_add_to_the_logs_is_recorded(feeds: Callable, wrapped: Callable) -> None:
    outcomes, seen = [], []
    for train in (_loop, _fit):
        keras.utils.set_random_seed(1)
        callback = OwnMetric()
        outcomes.append(train(_model(), feeds(None), wrapped(callback)))
        seen.append(callback.seen)
    outcomes[1]["history"].pop("comment")

    _assert_same(*outcomes)
    assert seen[0] == seen[1]
    assert "val_own" in outcomes[0]["history"]


def _assert_alike(ours: Any, theirs: Any) -> None:
    """Compares floats closely, all else exactly."""
    if isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=1e-3)
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs)
        for own, other in zip(ours, theirs, strict=True):
            _assert_alike(own, other)
    else:
        assert ours == theirs
