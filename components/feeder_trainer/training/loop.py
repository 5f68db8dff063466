"""The training loop: epoch after epoch of a plan, through one compiled step."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import FeederError
from tfx_feeder.components.feeder_trainer.feed.base import batch_sizes
from tfx_feeder.components.feeder_trainer.feed.feed import Feed
from tfx_feeder.components.feeder_trainer.model.builder import learning_rate, set_learning_rate
from tfx_feeder.components.feeder_trainer.model.state import capture, restore
from tfx_feeder.components.feeder_trainer.schedules.plan import EpochResult, Plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec
from tfx_feeder.components.feeder_trainer.training import progress
from tfx_feeder.components.feeder_trainer.training.baseline import BaselineModel
from tfx_feeder.components.feeder_trainer.training.bottleneck import ThroughputMonitor
from tfx_feeder.components.feeder_trainer.training.callbacks import (
    TEST_BATCH_HOOKS,
    TRAIN_BATCH_HOOKS,
    needs_every_batch,
)
from tfx_feeder.components.feeder_trainer.training.checkpoint import CheckpointManager
from tfx_feeder.components.feeder_trainer.training.process_group import ProcessGroup, SingleProcess
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder
from tfx_feeder.components.feeder_trainer.training.resume import LoopState, load, save
from tfx_feeder.components.feeder_trainer.training.train_step import LOSS, CompiledSteps
from tfx_feeder.components.feeder_trainer.training.validation import Validation

_CALL_S = 0.5
"""Aim for the duration of one compiled call: long enough to cost nothing, short enough to watch."""


class TrainingDivergedError(FeederError):
    """The loss is not a number any more."""


class TrainingLoop:
    """Trains a model by a plan.

    Args:
        steps: The compiled steps of the model; their variables are built.
        feed: Training examples.
        plan: Learning rates, batch sizes and lengths, epoch by epoch.
        recorder: Takes down what happens.
        validation: Examples to evaluate on after each epoch; optional.
        validation_batch_size: Examples in a batch of validation.
        callbacks: Keras callbacks; they behave as with ``fit()``.
        drop_remainder: Leave out the last partial batch of an epoch, unless it is its only one.
        steps_per_execution: Steps in a compiled call; ``None``: about half a second of them.
        probe: Measure what feed and model could do alone.
        checkpoints: Where to save the state now and then, and to go on from; optional.
        team: The processes that run this loop side by side. What depends on clocks and callbacks
            its chief decides for all; callbacks are the chief's alone.
        rate_factor: What the plan's learning rates are multiplied by.
        pace: Told how many epochs are done, says so if the training is behind its prediction.
        rival: What the training is stopped for, if it cannot come up to it; needs ``validation``.
    """

    def __init__(
        self,
        steps: CompiledSteps,
        feed: Feed,
        plan: Plan,
        recorder: Recorder,
        *,
        validation: Feed | None = None,
        validation_batch_size: int = 256,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        drop_remainder: bool = False,
        steps_per_execution: int | None = None,
        probe: bool = True,
        checkpoints: CheckpointManager | None = None,
        team: ProcessGroup | None = None,
        rate_factor: float = 1.0,
        pace: Callable[[int], str | None] | None = None,
        rival: BaselineModel | None = None,
    ) -> None:
        self._steps = steps
        self._model = steps.model
        self._feed = feed
        self._plan = plan
        self._recorder = recorder
        self._validation = (
            None if validation is None else Validation(steps, validation, validation_batch_size)
        )
        self._drop_remainder = drop_remainder
        self._steps_per_execution = steps_per_execution
        self._team = team or SingleProcess()
        self._rate_factor = rate_factor
        self._pace = pace
        self._rival = rival
        self._monitor = ThroughputMonitor(steps, feed, self._team, enabled=probe)
        self._checkpoints = checkpoints
        self._every_train_batch = needs_every_batch(callbacks, TRAIN_BATCH_HOOKS)
        self._every_test_batch = needs_every_batch(callbacks, TEST_BATCH_HOOKS)
        self._callbacks = keras.callbacks.CallbackList(
            list(callbacks), model=self._model, epochs=plan.total_epochs, steps=None, verbose=0
        )
        self._state = LoopState()
        self._batches: Iterator[Any] | None = None
        self._epochs_open = 0

    def run(self) -> None:
        """Trains to the end of the plan, or until a callback stops it or the rival has won.

        Raises:
            TrainingDivergedError: The loss of a step is not finite.
        """
        self._model.stop_training = False
        # Reading metrics is for all of a team at once, also where only the chief's callbacks do.
        hooks = self._team.broadcast([self._every_train_batch, self._every_test_batch])
        self._every_train_batch, self._every_test_batch = map(bool, hooks)
        saved = load(self._checkpoints, self._model, self._plan, self._recorder)
        self._callbacks.on_train_begin()
        if saved is not None:
            self._state = saved
            self._model.stop_training = saved.stopped
        elif self._rival is not None:
            self._state.to_beat = self._rival.measure(self._validate_unnoticed)
        logs: dict[str, float] = {}
        while (upcoming := self._plan.current_phase_epochs()) and not self._model.stop_training:
            segment = upcoming[0]
            if self._state.phase is None:
                self._begin_phase(segment)
            if not self._epochs_open:
                self._open(upcoming)
            logs = self._run_epoch(segment)
            following = self._plan.current_phase_epochs()
            if not following or following[0].phase != segment.phase or self._model.stop_training:
                self._end_phase(logs)
            self._save_if_due()
        self._remind_callbacks()
        # Of an optimizer with use_ema the averaged weights are the result, as in fit().
        self._model.optimizer.finalize_variable_values(self._model.trainable_weights)
        self._callbacks.on_train_end(logs)

    def _begin_phase(self, segment: EpochSpec) -> None:
        self._state.begin_phase(segment)
        self._monitor.begin_phase()
        set_learning_rate(self._model, segment.learning_rate * self._rate_factor)

    def _end_phase(self, logs: dict[str, float]) -> None:
        first = self._state.phase
        assert first is not None
        speed, wait_pct = self._recorder.phase_figures(first.phase)
        self._recorder.phase(
            first,
            reason=self._state.reason,
            metrics=logs,
            verdict=self._monitor.judge(wait_pct, speed),
            ceilings=self._monitor.ceilings,
        )
        self._state.phase = None
        self._epochs_open = 0

    def _open(self, upcoming: Sequence[EpochSpec]) -> None:
        """Opens the stream for epochs to come, where the training stands in the first of them."""
        done = self._state.steps_done * upcoming[0].batch_size
        epochs = [range(segment.start, self._stop(segment)) for segment in upcoming]
        epochs[0] = epochs[0][done:]
        self._batches = iter(self._feed.batches(epochs, upcoming[0].batch_size))
        self._epochs_open = len(epochs)

    def _stop(self, segment: EpochSpec) -> int:
        whole = segment.examples // segment.batch_size * segment.batch_size
        return segment.start + whole if self._drop_remainder and whole else segment.stop

    def _run_epoch(self, segment: EpochSpec) -> dict[str, float]:
        state = self._state
        planned = self._stop(segment) - segment.start
        steps = math.ceil(planned / segment.batch_size)
        self._callbacks.params["steps"] = steps
        self._callbacks.on_epoch_begin(segment.epoch)
        self._remind_callbacks()
        if not state.steps_done:
            self._model.reset_metrics()
        self._train(segment, planned)
        self._steps.synchronize()
        logs = self._steps.metrics_result()
        if self._validation is not None:
            validated = self._validation.run(self._callbacks, every_batch=self._every_test_batch)
            logs |= {f"val_{name}": value for name, value in validated.items()}
        row = self._recorder.epoch(
            segment,
            learning_rate(self._model),
            state.rows,
            seconds=state.seconds,
            examples=min(len(state.rows) * segment.batch_size, planned),
            first_step_s=state.first_step_s,
            metrics=logs,
        )
        self._tell(segment, steps, steps, row.examples_per_s, logs)
        self._callbacks.on_epoch_end(segment.epoch, logs)
        if self._pace and (news := self._pace(segment.epoch + 1)):
            self._recorder.event("pace", news)
            progress.log_warning(news)
        self._stop_if_beaten()
        self._monitor.probe(segment.batch_size, row.step_ms_p50 / 1e3, self._recorder.trained_s)
        input_bound, noise_scale, *values = self._follow_chief(
            self._monitor.is_input_bound(row.input_wait_pct),
            math.nan if row.noise_scale is None else row.noise_scale,
            *logs.values(),
        )
        feedback = EpochResult(
            segment,
            learning_rate(self._model) / self._rate_factor,
            dict(zip(logs, values, strict=True)),
            input_bound=bool(input_bound),
            noise_scale=None if math.isnan(noise_scale) else noise_scale,
        )
        for decision in self._plan.advance(feedback):
            if decision.kind == "phase":
                state.next_reason = decision.reason
            self._recorder.event(decision.kind, decision.reason)
        state.end_epoch()
        self._epochs_open -= 1
        return logs

    def _remind_callbacks(self) -> None:
        if self._team.is_chief:
            self._state.restore_callbacks(self._callbacks.callbacks)

    def _validate_unnoticed(self) -> dict[str, float]:
        """Validates as ``fit()`` would not: its callbacks are not to know of it."""
        assert self._validation is not None
        nobody = keras.callbacks.CallbackList([], model=self._model)
        return self._validation.run(nobody, every_batch=False)

    def _stop_if_beaten(self) -> None:
        if self._rival is None or self._model.stop_training:
            return
        ahead = self._plan.remaining_epochs()
        if news := self._rival.beaten_by(self._state.to_beat, ahead and ahead[1:]):
            self._recorder.event("early_stop", news)
            progress.log_warning(news)
            self._model.stop_training = True

    def _train(self, segment: EpochSpec, planned: int) -> None:
        """Trains what is left of an epoch of ``planned`` examples."""
        state = self._state
        steps = math.ceil(planned / segment.batch_size)
        count = self._before_call(state.steps_done, 1)
        while state.steps_done < steps and not self._model.stop_training:
            first = state.steps_done * segment.batch_size
            sizes = batch_sizes(planned - first, segment.batch_size)[:count]
            traces, begin = self._steps.traces, time.perf_counter()
            rows = self._call(segment, sizes)
            elapsed = time.perf_counter() - begin
            if self._steps.traces > traces:
                state.first_step_s = elapsed
                elapsed = float(rows[:, :2].sum())
            self._check_loss(segment, rows)
            state.add(rows, elapsed)
            left = steps - state.steps_done
            if self._every_train_batch:
                self._callbacks.on_train_batch_end(
                    state.steps_done - 1, self._steps.metrics_result()
                )
            else:
                count = self._steps_per_execution or min(
                    max(self._steps.min_steps_per_call, round(count * _CALL_S / elapsed)),
                    16 * count,
                )
            if left:
                speed = state.steps_done * segment.batch_size / state.seconds
                self._tell(segment, state.steps_done, steps, speed, {})
                count = self._save_if_due(segment, min(count, left))
            count = self._before_call(state.steps_done, count, is_last=not left)

    def _before_call(self, step: int, count: int, *, is_last: bool = False) -> int:
        """Does what comes before a call of ``count`` steps; returns for how many it may be."""
        if self._every_train_batch and not is_last and not self._model.stop_training:
            self._callbacks.on_train_batch_begin(step)
        return int(self._follow_chief(count)[0])

    def _follow_chief(self, *values: float) -> list[float]:
        """Lets the chief decide for all members: these values, the learning rate, and the end."""
        if self._team.size == 1:
            return list(values)
        mine = [self._model.stop_training, learning_rate(self._model), *values]
        stop, rate, *rest = self._team.broadcast([float(value) for value in mine])
        self._model.stop_training = bool(stop)
        set_learning_rate(self._model, rate)
        return rest

    def _call(self, segment: EpochSpec, sizes: Sequence[int]) -> np.ndarray:
        """Runs one compiled call; the first of a phase may find that the batch does not fit."""
        state = self._state
        if state.phase_fits or segment.batch_size == 1 or self._team.size > 1:
            return self._steps.train(self._batches, sizes)
        before = capture(self._model)
        while True:
            try:
                rows = self._steps.train(self._batches, sizes)
            except tf.errors.ResourceExhaustedError:
                if self._steps.max_micro_batch_size == 1:
                    raise
                size = self._steps.halve_micro_batches(segment.batch_size)
                self._recorder.event(
                    "out_of_memory",
                    f"A batch of {segment.batch_size} did not fit: micro-batches of {size} now.",
                    segment.start,
                )
                restore(self._model, before)
                self._open(self._plan.current_phase_epochs())
                continue
            state.phase_fits = True
            return rows

    def _check_loss(self, segment: EpochSpec, rows: np.ndarray) -> None:
        bad = np.flatnonzero(~np.isfinite(rows[:, LOSS]))
        if not len(bad):
            return
        step = self._state.steps_done + int(bad[0])
        first = segment.start + step * segment.batch_size
        last = min(first + segment.batch_size, segment.stop)
        checkpoint = self._checkpoints.last_path() if self._checkpoints else None
        raise TrainingDivergedError(
            f"The loss was {rows[bad[0], LOSS]} at step {step + 1} of epoch {segment.epoch + 1} "
            f"(learning rate {learning_rate(self._model):.3g}, batch {segment.batch_size}), on the "
            f"examples at positions {first} to {last - 1}{self._ids(range(first, last))}. Last "
            f"good checkpoint: {checkpoint or 'none'}. Lower the learning rate, clip the "
            "gradients, or look at these examples."
        )

    def _ids(self, positions: range) -> str:
        """Names the examples at some positions, where they have a feature ``id``."""
        features = next(iter(self._feed.batches([positions], len(positions))))[0]
        if "id" not in features:
            return ""
        return f", ids {[str(value) for value in features['id'].numpy().ravel()[:10]]}"

    def _save_if_due(self, segment: EpochSpec | None = None, count: int = 1) -> int:
        """Saves the state if it is time; returns how many steps to run until the next time."""
        if self._checkpoints is None:
            return count
        batch_size = segment.batch_size if segment else 1
        seen = self._recorder.examples_seen + self._state.steps_done * batch_size
        if self._team.broadcast([self._checkpoints.is_due(seen)])[0]:
            self._steps.synchronize()
            callbacks = self._callbacks.callbacks
            save(
                self._checkpoints,
                self._state,
                seen,
                self._model,
                self._plan,
                self._recorder,
                callbacks,
            )
        left = self._checkpoints.examples_until_due(seen)
        return count if left is None else min(count, math.ceil(left / batch_size))

    def _tell(
        self, segment: EpochSpec, step: int, steps: int, speed: float, metrics: dict[str, float]
    ) -> None:
        progress.report_progress(
            progress.Progress(
                epoch=segment.epoch,
                epochs=self._plan.total_epochs,
                phase=segment.phase,
                step=step,
                steps=steps,
                learning_rate=learning_rate(self._model),
                batch_size=segment.batch_size,
                examples_per_s=speed,
                metrics=metrics,
            )
        )
