"""The training loop: phase after phase of a schedule, through one compiled step."""

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfx_feeder.components.feeder_trainer import progress
from tfx_feeder.components.feeder_trainer.callbacks import (
    TEST_BATCH_HOOKS,
    TRAIN_BATCH_HOOKS,
    needs_every_batch,
)
from tfx_feeder.components.feeder_trainer.feed import ExampleFeed
from tfx_feeder.components.feeder_trainer.history import Recorder
from tfx_feeder.components.feeder_trainer.model_source import learning_rate, set_learning_rate
from tfx_feeder.components.feeder_trainer.schedule import Schedule, Segment
from tfx_feeder.components.feeder_trainer.step import CompiledSteps

_CALL_S = 0.5
"""Aim for the duration of one compiled call: long enough to cost nothing, short enough to watch."""


class TrainingLoop:
    """Trains a model by a schedule.

    Args:
        steps: The compiled steps of the model; their variables are built.
        feed: Training examples.
        schedule: Learning rates, batch sizes and lengths.
        recorder: Takes down what happens.
        validation: Examples to evaluate on after each epoch; optional.
        validation_batch_size: Examples in a batch of validation.
        callbacks: Keras callbacks; they behave as with ``fit()``.
        drop_remainder: Leave out the last partial batch of an epoch.

    Raises:
        ConfigError: The schedule does not fit the data.
    """

    def __init__(
        self,
        steps: CompiledSteps,
        feed: ExampleFeed,
        schedule: Schedule,
        recorder: Recorder,
        *,
        validation: ExampleFeed | None = None,
        validation_batch_size: int = 256,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        drop_remainder: bool = False,
    ) -> None:
        self._steps = steps
        self._model = steps.model
        self._feed = feed
        self._recorder = recorder
        self._validation = validation
        self._validation_batch_size = validation_batch_size
        self._drop_remainder = drop_remainder
        self._segments = list(schedule.segments(feed.num_examples))
        self._every_train_batch = needs_every_batch(callbacks, TRAIN_BATCH_HOOKS)
        self._every_test_batch = needs_every_batch(callbacks, TEST_BATCH_HOOKS)
        self._callbacks = keras.callbacks.CallbackList(
            list(callbacks), model=self._model, epochs=len(self._segments), verbose=0
        )

    def run(self) -> None:
        """Trains to the end of the schedule, or until a callback stops it."""
        self._model.stop_training = False
        self._callbacks.on_train_begin()
        logs: dict[str, float] = {}
        for _, group in itertools.groupby(self._segments, key=lambda segment: segment.phase):
            logs = self._run_phase(list(group))
            if self._model.stop_training:
                break
        self._callbacks.on_train_end(logs)

    def _run_phase(self, segments: list[Segment]) -> dict[str, float]:
        first = segments[0]
        set_learning_rate(self._model, first.learning_rate)
        self._recorder.begin_phase(first, reason="schedule" if first.epoch else "start")
        epochs = [range(segment.start, self._stop(segment)) for segment in segments]
        batches = iter(self._feed.batches(epochs, first.batch_size))
        logs: dict[str, float] = {}
        for segment in segments:
            logs = self._run_epoch(segment, batches)
            if self._model.stop_training:
                break
        self._recorder.end_phase(logs)
        return logs

    def _stop(self, segment: Segment) -> int:
        whole = segment.examples // segment.batch_size * segment.batch_size
        return segment.start + whole if self._drop_remainder else segment.stop

    def _run_epoch(self, segment: Segment, batches: Iterator[Any]) -> dict[str, float]:
        self._callbacks.on_epoch_begin(segment.epoch)
        self._model.reset_metrics()
        planned = self._stop(segment) - segment.start
        steps = math.ceil(planned / segment.batch_size)
        times, first_step_s = self._train(segment, batches, steps)
        examples = min(len(times) * segment.batch_size, planned)
        logs = self._steps.results()
        if self._validation is not None:
            logs |= {f"val_{name}": value for name, value in self._evaluate().items()}
        rate = learning_rate(self._model)
        row = self._recorder.epoch(
            segment, rate, times, examples=examples, first_step_s=first_step_s, metrics=logs
        )
        self._tell(segment, steps, steps, row.examples_per_s, logs)
        self._callbacks.on_epoch_end(segment.epoch, logs)
        return logs

    def _train(
        self, segment: Segment, batches: Iterator[Any], steps: int
    ) -> tuple[np.ndarray, float | None]:
        """Trains one epoch; returns the times of its steps, and of a first one that compiled."""
        pieces: list[np.ndarray] = []
        first_step_s = None
        done, count = 0, 1
        while done < steps and not self._model.stop_training:
            if self._every_train_batch:
                self._callbacks.on_train_batch_begin(done)
            traces, begin = self._steps.traces, time.perf_counter()
            pieces.append(self._steps.train(batches, tf.constant(count)).numpy())
            elapsed = time.perf_counter() - begin
            done += count
            if self._steps.traces > traces:
                first_step_s = elapsed
            if self._every_train_batch:
                self._callbacks.on_train_batch_end(done - 1, self._steps.results())
                continue
            if done < steps:
                speed = done * segment.batch_size / np.concatenate(pieces).sum()
                self._tell(segment, done, steps, speed, {})
            count = min(max(1, round(count * _CALL_S / elapsed)), 16 * count, steps - done)
        return np.concatenate(pieces), first_step_s

    def _evaluate(self) -> dict[str, float]:
        assert self._validation is not None
        size, total = self._validation_batch_size, self._validation.num_examples
        batches = iter(self._validation.batches([range(total)], size))
        steps = math.ceil(total / size)
        self._model.reset_metrics()
        self._callbacks.on_test_begin()
        if self._every_test_batch:
            for step in range(steps):
                self._callbacks.on_test_batch_begin(step)
                self._steps.evaluate(batches, tf.constant(1))
                self._callbacks.on_test_batch_end(step, self._steps.results())
        else:
            self._steps.evaluate(batches, tf.constant(steps))
        logs = self._steps.results()
        self._callbacks.on_test_end(logs)
        return logs

    def _tell(
        self, segment: Segment, step: int, steps: int, speed: float, metrics: dict[str, float]
    ) -> None:
        progress.tell(
            progress.Progress(
                epoch=segment.epoch,
                epochs=len(self._segments),
                phase=segment.phase,
                step=step,
                steps=steps,
                learning_rate=learning_rate(self._model),
                batch_size=segment.batch_size,
                examples_per_s=speed,
                metrics=metrics,
            )
        )
