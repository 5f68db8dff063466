"""Distributed trainings of the reference task, started as the Trainer starts them."""

import contextlib
import datetime
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import psutil
import reference
import tensorflow as tf
import tfdata_feeds

from tfx_feeder.components.feeder_trainer.distribution.devices import open_devices
from tfx_feeder.components.feeder_trainer.distribution.fit import FitSpec
from tfx_feeder.components.feeder_trainer.distribution.fit import fit as fit_strategy
from tfx_feeder.components.feeder_trainer.distribution.launcher.launch import run_in_processes
from tfx_feeder.components.feeder_trainer.distribution.options import (
    ParameterServer,
    SingleDevice,
    Strategy,
)
from tfx_feeder.components.feeder_trainer.distribution.strategy_info import STRATEGIES
from tfx_feeder.components.feeder_trainer.model.builder import ModelContext
from tfx_feeder.components.feeder_trainer.model.user_module import UserCode
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.training import progress

WORKERS = 2
DEVICES = tuple(f"CPU:{index}" for index in range(WORKERS))
EVAL_BATCH = 256
FEEDS = {"mirrored_fit": tfdata_feeds.textbook, "mirrored_fit_cached": tfdata_feeds.guide_cached}
"""Keras's fit() on two devices, on the tutorials' tf.data and on the performance guide's."""


CORRECTIONS: Mapping[str, Strategy] = {
    "asynchronous": ParameterServer(f"local:{WORKERS}"),
    "momentum corrected": ParameterServer(f"local:{WORKERS}", momentum="corrected"),
    "rate by staleness": ParameterServer(f"local:{WORKERS}", lr_scaling="staleness"),
}
"""Asynchronous parameter servers, with and without a correction of their staleness."""


@dataclass(frozen=True)
class Epoch:
    """What an epoch of a training came to.

    Args:
        examples: Examples trained on.
        seconds: Time in training steps, compilation and validation left out.
        cpu_s: CPU seconds of all its processes since the epoch before, validation included;
            those of the first epoch include tracing.
        loss: Training loss.
        accuracy: On the validation split.
    """

    examples: int
    seconds: float
    cpu_s: float
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Training:
    """What a training came to.

    Args:
        start_s: Seconds until it could trace its first step: processes, imports, feed, model.
        epochs: One after another.
    """

    start_s: float
    epochs: list[Epoch]


def strategy(name: str) -> Strategy:
    """Returns a strategy on two logical devices, or two workers, of this machine."""
    if name in CORRECTIONS:
        return CORRECTIONS[name]
    mode = STRATEGIES[name].launch_mode
    options: dict[str, Any] = {}
    if mode == "subprocess":
        options["devices"] = DEVICES
    elif mode != "in_process":
        options["cluster"] = f"local:{WORKERS}"
    return Strategy.from_dict({"name": name, **options})


def fit_spec(folder: Path, where: Strategy, schedule: Schedule, work_dir: Path) -> FitSpec:
    """Returns the specification of a fit.

    Args:
        folder: Of ``reference.write_records``.
        where: The strategy.
        schedule: Learning rates, batch sizes and lengths.
        work_dir: For checkpoints; new for each training.
    """
    return FitSpec(
        UserCode(model_fn="tfx_feeder.pipeline.model.create_model"),
        ModelContext(
            reference.FEATURES, reference.feed_options(), custom_config={"num_classes": 10}
        ),
        schedule,
        where,
        reference.files(folder, "train"),
        reference.files(folder, "eval"),
        checkpoint_dir=str(work_dir / "checkpoints"),
    )


def train(spec: FitSpec, work_dir: Path) -> Training:
    """Trains in the processes that the strategy needs: the sequential one in this one.

    Args:
        spec: Specification of the fit.
        work_dir: For logs.
    """
    began = time.time()
    with _cpu_at_epochs() as cpu_s:
        if isinstance(spec.strategy, SingleDevice):
            history = fit_strategy(spec).history
        else:
            log_dir = str(work_dir / "logs")
            ran = run_in_processes(fit_strategy, spec, spec.strategy, log_dir)
            history = ran.result.history
    started = datetime.datetime.fromisoformat(history.started_at).timestamp()
    return Training(
        started - began,
        [
            Epoch(
                row.examples,
                row.seconds,
                used,
                row.metrics["loss"],
                row.metrics["val_accuracy"],
            )
            for row, used in zip(history.epochs, cpu_s, strict=True)
        ],
    )


def fit(variant: str, folder: Path, schedule: Schedule) -> Training:
    """Trains by Keras's ``fit()`` under MirroredStrategy.

    Args:
        variant: One of ``FEEDS``.
        folder: Of ``reference.write_records``.
        schedule: Of one phase.
    """
    began = time.perf_counter()
    (phase,) = schedule.phases
    scope = tf.distribute.MirroredStrategy(open_devices(DEVICES)).scope()
    with scope:
        model = reference.create_model()
        reference.compile_again(model, phase.learning_rate)
    times = _Times()
    history = model.fit(
        FEEDS[variant](reference.files(folder, "train"), phase.batch_size),
        epochs=phase.length.amount,
        steps_per_epoch=schedule.steps_per_epoch,
        validation_data=tfdata_feeds.in_order(reference.files(folder, "eval"), EVAL_BATCH),
        verbose=0,
        callbacks=[times],
    ).history
    assert schedule.steps_per_epoch is not None
    examples = schedule.steps_per_epoch * phase.batch_size
    rows = zip(times.seconds, times.cpu_s, history["loss"], history["val_accuracy"], strict=True)
    return Training(times.began - began, [Epoch(examples, *row) for row in rows])


class _Times(keras.callbacks.Callback):
    """Takes the time of each epoch of ``fit()``, from its first step to its validation."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self.cpu_s: list[float] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.began = time.perf_counter()
        self._cpu = _cpu_s()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._begin = time.perf_counter()

    def on_test_begin(self, logs: Any = None) -> None:
        self.seconds.append(time.perf_counter() - self._begin)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        before, self._cpu = self._cpu, _cpu_s()
        self.cpu_s.append(self._cpu - before)


@contextlib.contextmanager
def _cpu_at_epochs() -> Iterator[list[float]]:
    """Records the CPU seconds of each epoch, reported by any process at its end."""
    cpu_s: list[float] = []
    before = _cpu_s()

    class Meter(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            nonlocal before
            if record.progress.done:  # pyright: ignore[reportAttributeAccessIssue]
                now = _cpu_s()
                cpu_s.append(now - before)
                before = now

    meter = Meter()
    progress.LOGGER.addHandler(meter)
    progress.LOGGER.setLevel(logging.INFO)
    progress.LOGGER.propagate = False
    try:
        yield cpu_s
    finally:
        progress.LOGGER.removeHandler(meter)


def _cpu_s() -> float:
    """Returns the CPU seconds of this process and of those that it started and that still run."""
    this = psutil.Process()
    total = 0.0
    for process in (this, *this.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total
