"""Functions run by the processes of test_parameter_server.py."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import (
    VARIABLE,
    ClusterTask,
    ProcessTopology,
    is_reachable,
)
from tfx_feeder.components.feeder_trainer.distribution.context import DistributionContext
from tfx_feeder.components.feeder_trainer.distribution.options import (
    ParameterServer,
    SingleDevice,
    Strategy,
)
from tfx_feeder.components.feeder_trainer.distribution.parameter_server.strategy import (
    open_context,
)
from tfx_feeder.components.feeder_trainer.distribution.single_device import open_context as alone
from tfx_feeder.components.feeder_trainer.model.builder import set_learning_rate
from tfx_feeder.components.feeder_trainer.model.state import capture, restore
from tfx_feeder.components.feeder_trainer.training.train_step import LOSS, StepOptions

SIZES = [32] * 5 + [7, 1]


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    digits = load_digits()
    weights = np.random.default_rng(0).uniform(0.5, 2, len(digits.target)).astype(np.float32)
    images = (digits.images.reshape(-1, 64) / 16).astype(np.float32)
    return images, digits.target.astype(np.int64), weights


def batches(sizes: Sequence[int], *, weighted: bool = False, heads: str = "") -> Iterator[Any]:
    """Returns an iterator over consecutive batches, with one copy of the label per head."""
    columns = data() if weighted else data()[:2]

    def parts() -> Iterator[Any]:
        first = 0
        for size in sizes:
            rows = np.arange(first, first + size) % len(columns[0])
            yield tuple(column[rows] for column in columns)
            first += size

    specs = tuple(tf.TensorSpec([None, *c.shape[1:]], c.dtype) for c in columns)
    dataset = tf.data.Dataset.from_generator(parts, output_signature=specs)
    if heads:
        dataset = dataset.map(lambda x, y: (x, dict.fromkeys(heads, y)))
    return iter(dataset.prefetch(2))


def dense(optimizer: Any) -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(24, activation="relu", kernel_regularizer="l2"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def several(optimizer: Any) -> keras.Model:
    """Returns a model with two outputs, an embedding, an unused weight, and a layer loss."""

    class Shrink(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.unused = self.add_weight(shape=(3,))

        def call(self, inputs: Any) -> Any:
            self.add_loss(0.01 * keras.ops.mean(keras.ops.square(inputs)))
            return inputs

    inputs = keras.Input((64,))
    tokens = keras.layers.Embedding(4, 3)(keras.layers.Lambda(lambda x: x[:, :8] * 3)(inputs))
    hidden = Shrink()(keras.layers.Dense(16, activation="tanh")(inputs))
    hidden = keras.layers.Concatenate()([hidden, keras.layers.Flatten()(tokens)])
    heads = [keras.layers.Dense(10, activation="softmax", name=name)(hidden) for name in "ab"]
    model = keras.Model(inputs, dict(zip("ab", heads, strict=True)))
    loss = "sparse_categorical_crossentropy"
    model.compile(optimizer, {"a": loss, "b": loss}, loss_weights={"a": 1.0, "b": 0.3})
    return model


def normalized(optimizer: Any) -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(32),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
            keras.layers.Dropout(0.1),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


class Own(keras.Model):
    """Model with a custom training step."""

    def train_step(self, data: Any) -> Any:
        return super().train_step(data)


def half(optimizer: Any) -> keras.Model:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        return dense(optimizer)
    finally:
        keras.config.set_dtype_policy(before)


def sgd() -> Any:
    return keras.optimizers.SGD(0.1, momentum=0.9)


def adam() -> Any:
    return keras.optimizers.Adam(0.01, global_clipnorm=0.5)


CASES: dict[str, tuple[Callable[[], keras.Model], dict[str, Any]]] = {
    "sgd": (lambda: dense(sgd()), {}),
    "adam": (lambda: dense(adam()), {"noise_scale": True}),
    "micro": (
        lambda: dense(adam()),
        {"max_micro_batch_size": 10, "class_weight": {0: 2.0, 3: 0.5}, "weighted": True},
    ),
    "several": (lambda: several(sgd()), {}),
    "half": (lambda: half(sgd()), {}),
}
"""Models whose synchronous training must match single-device training."""


def trained(
    placement: DistributionContext,
    make: Callable[[], keras.Model],
    sizes: Sequence[int] = SIZES,
    *,
    weighted: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Trains a model twice from the same checkpoint, and evaluates it."""

    def feed(sizes: Sequence[int]) -> Iterator[Any]:
        return batches(sizes, weighted=weighted, heads="ab" if make is CASES["several"][0] else "")

    keras.utils.set_random_seed(0)
    with placement.scope():
        model = make()
        steps = placement.steps(model, lambda x: x, StepOptions(**options))
        steps.build(next(feed([1])))
        saved = capture(model)
        steps.train(feed(sizes), sizes)
        restore(model, saved)
        rows = steps.train(feed(sizes), sizes)
        result = {
            "weights": model.get_weights(),
            "optimizer": [np.asarray(v) for v in model.optimizer.variables],
            "rows": rows,
            "metrics": steps.metrics_result(),
            "history_note": steps.history_note(),
        }
        model.reset_metrics()
        traces = steps.traces
        steps.evaluate(feed(sizes), sizes)
        evaluated = steps.metrics_result()
        set_learning_rate(model, 0.0)
        steps.train(feed([32]), [32])
        return result | {
            "evaluated": evaluated,
            "traces": traces,
            "unmoved": [
                np.array_equal(v, w)
                for v, w in zip(model.get_weights(), result["weights"], strict=True)
            ],
        }


def compare(name: str, task: ClusterTask) -> dict[str, Any]:
    """Trains each case on the cluster and on one device; also tries a loss that is a sum."""
    placement = open_context(Strategy.from_dict({"name": name, "cluster": "local:2"}), task)
    together = {
        case: trained(placement, make, **options) for case, (make, options) in CASES.items()
    }
    sequential = alone(SingleDevice(), None)
    with placement.scope():
        model = dense(sgd())
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(reduction="sum"))
        try:
            placement.steps(model, lambda x: x)
            refusal = ""
        except ConfigError as error:
            refusal = str(error)
    return {"sum": refusal} | {
        case: (trained(sequential, make, **options), together[case])
        for case, (make, options) in CASES.items()
    }


def race(_: str, task: ClusterTask) -> dict[str, Any]:
    """Trains asynchronously, and collects the errors of unsupported options."""
    placement = open_context(ParameterServer("local:2"), task)
    refused = {}
    with placement.scope():
        inputs = keras.Input((64,))
        own = Own(inputs, keras.layers.Dense(1)(inputs))
        own.compile("sgd", "mse")
        for key, model, options in (
            ("train_step", own, {}),
            ("noise_scale", dense(sgd()), {"noise_scale": True}),
            ("max_micro_batch_size", dense(sgd()), {"max_micro_batch_size": 4}),
            ("mixed_float16", half(sgd()), {}),
        ):
            try:
                placement.steps(model, lambda x: x, StepOptions(**options))
            except ConfigError as error:
                refused[key] = str(error)
        counted = counting_model()
        steps = placement.steps(counted, lambda x: x)
        steps.build(next(numbered(1)))
        steps.train(numbered(128), [4] * 128)
        model = dense(keras.optimizers.SGD(0.1))
        steps = placement.steps(model, lambda x: x)
        steps.build(next(batches([1])))
        error = _error_of_bad_label(steps)
        corrected = dense(sgd())
        placement.steps(corrected, lambda x: x, corrects_momentum=True).build(next(batches([1])))
        try:
            placement.steps(dense(adam()), lambda x: x, corrects_momentum=True)
        except ConfigError as error_of_adam:
            refused["momentum"] = str(error_of_adam)
        after_error = steps.train(batches([32] * 3), [32] * 3)[:, LOSS]
    learned = trained(placement, lambda: normalized(adam()), [64] * 100)
    return {
        "refused": refused,
        "applied": -counted.get_weights()[0][:, 0],
        "error": error,
        "momentum": corrected.optimizer.momentum,
        "after_error": after_error,
        "learned": learned,
        "counted": trained(placement, lambda: dense(keras.optimizers.Adam(0.01))),
    }


def _error_of_bad_label(steps: Any) -> str:
    images, *_ = data()
    bad = tf.data.Dataset.from_tensors((images[:8], np.full(8, 99))).repeat()
    try:
        steps.train(iter(bad), [8] * 20)
    except tf.errors.OpError as error:
        return str(error)
    return ""


def counting_model() -> keras.Model:
    """Returns a model whose gradient is the mean of the inputs for all weights."""
    model = keras.Sequential(
        [keras.Input((64,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")]
    )
    model.compile(keras.optimizers.SGD(1.0), lambda y, y_pred: keras.ops.mean(y_pred, axis=-1))
    return model


def numbered(count: int, size: int = 4) -> Iterator[Any]:
    """Returns batches whose number is one-hot encoded in 64 columns."""
    ones = tf.eye(64)

    def batch(number: tf.Tensor) -> Any:
        return tf.repeat(ones[number % 64][None], size, axis=0), tf.zeros([size], tf.int64)

    return iter(tf.data.Dataset.range(count).map(batch))


def kill(task: ClusterTask) -> int:
    """Kills the process of a task."""
    mark = f"{VARIABLE}={task.to_json()}".encode()
    (pid,) = [
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and mark in _read(folder / "environ").split(b"\0")
    ]
    os.kill(pid, signal.SIGKILL)
    return pid


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def survive(name: str, task: ClusterTask) -> dict[str, Any]:
    """Trains while one worker after the other is killed and restarted."""
    placement = open_context(Strategy.from_dict({"name": name, "cluster": "local:2"}), task)
    with placement.scope():
        model = counting_model()
        steps = placement.steps(model, lambda x: x)
        steps.build(next(numbered(1)))
        batches, calls = numbered(64_000), 0

        def train() -> None:
            nonlocal calls
            steps.train(batches, [4] * 64)
            calls += 1

        train()
        for index in (1, 0):
            victim = ClusterTask(task.cluster, "worker", index)
            address = task.cluster["worker"][index]
            timer = threading.Timer(0.02, kill, [victim])
            timer.start()
            while is_reachable(address):
                train()
            timer.join()
            before = calls
            while not is_reachable(address):
                train()
            during = calls - before
            for _ in range(10):
                train()
        tracker: Any = next(metric for metric in model.metrics if metric.name == "loss")
        return {
            "applied": -model.get_weights()[0][:, 0],
            "calls": calls,
            "during": during,
            "iterations": int(keras.ops.convert_to_numpy(model.optimizer.iterations)),
            "examples": int(keras.ops.convert_to_numpy(tracker.count)),
        }


@contextlib.contextmanager
def servers(task: ClusterTask) -> Iterator[dict[str, subprocess.Popen]]:
    """Starts all servers of a cluster without a supervisor."""
    program = "import os; from tfx_feeder.components.feeder_trainer"
    program += ".distribution.cluster import ClusterTask; from tfx_feeder.components.feeder_trainer"
    program += ".distribution.launcher import worker"
    program += "; worker.serve(ClusterTask.required_from_env(os.environ))"
    with contextlib.ExitStack() as stack:
        started = {}
        for kind in ("worker", "ps"):
            for index in range(len(task.cluster[kind])):
                place = ClusterTask(task.cluster, kind, index)
                process = subprocess.Popen(
                    [sys.executable, "-c", program], env=os.environ | {VARIABLE: place.to_json()}
                )
                stack.callback(process.wait)
                stack.callback(process.kill)
                started[f"{kind}-{index}"] = process
        yield started


def lose_all(which: str, task: ClusterTask | None) -> tuple[str, str, float]:
    """Trains until all servers of a kind are killed; returns the error and its delay."""
    (chief, *_) = ProcessTopology("parameter_servers", 1).tasks()
    assert chief is not None
    with servers(chief) as processes:
        placement = open_context(ParameterServer("local:1"), chief, timeout_s=2)
        with placement.scope():
            model = counting_model()
            steps = placement.steps(model, lambda x: x)
            steps.build(next(numbered(1)))
            batches = numbered(1_000_000)
            steps.train(batches, [4] * 64)
            threading.Timer(0.05, processes[which].kill).start()
            begin = time.monotonic()
            try:
                while True:
                    steps.train(batches, [4] * 64)
            except Exception as error:
                return type(error).__name__, str(error), time.monotonic() - begin
