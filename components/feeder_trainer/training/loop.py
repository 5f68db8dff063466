"""The training loop: runs the epochs of a plan through one compiled step."""

import contextlib
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
from tfx_feeder.components.feeder_trainer.feed.rows import dataset_of_one
from tfx_feeder.components.feeder_trainer.model.builder import learning_rate, set_learning_rate
from tfx_feeder.components.feeder_trainer.model.state import capture, optimizers, restore
from tfx_feeder.components.feeder_trainer.schedules.plan import EpochResult, Plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec
from tfx_feeder.components.feeder_trainer.training import progress, step_timer
from tfx_feeder.components.feeder_trainer.training.baseline import BaselineModel
from tfx_feeder.components.feeder_trainer.training.bottleneck import ThroughputMonitor
from tfx_feeder.components.feeder_trainer.training.callbacks import (
    TEST_BATCH_HOOKS,
    TRAIN_BATCH_HOOKS,
    EpochLogs,
    check_resumable,
    keep_logs,
    needs_every_batch,
)
from tfx_feeder.components.feeder_trainer.training.checkpoint import LoopState, TrainingCheckpoint
from tfx_feeder.components.feeder_trainer.training.checkpoint_manager import CheckpointManager
from tfx_feeder.components.feeder_trainer.training.interrupts import DeferredInterrupt
from tfx_feeder.components.feeder_trainer.training.process_group import ProcessGroup, SingleProcess
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder
from tfx_feeder.components.feeder_trainer.training.step_logs import scalars
from tfx_feeder.components.feeder_trainer.training.train_step import LOSS, CompiledSteps
from tfx_feeder.components.feeder_trainer.training.validation import Validation


class TrainingDivergedError(FeederError):
    """Raised when the loss becomes NaN or infinite."""


class TrainingLoop:
    """Trains a model according to a plan.

    Args:
        steps: Compiled steps of the model; the variables are built.
        feed: Training examples.
        plan: Learning rate, batch size and length of each epoch.
        recorder: Recorder of the training history.
        validation: Examples to evaluate on after each epoch; optional.
        validation_batch_size: Examples in a validation batch.
        callbacks: Keras callbacks; they behave as with ``fit()``.
        drop_remainder: If True, the last partial batch of an epoch is dropped, unless it is the
            only batch.
        steps_per_execution: Steps per compiled call; ``None`` for the number that the model was
            compiled with, if any, or else about half a second of steps.
        probe: If True, the throughput of feed and model alone is measured.
        checkpoints: Checkpoints to save and to resume from; optional.
        start: Function that is called before a training that is not resumed, for example to load
            the weights of another model; optional.
        process_group: Processes that run this loop together. The chief decides everything that
            depends on clocks and callbacks; only the chief has callbacks.
        lr_scale_factor: Factor applied to the plan's learning rates.
        eta: Function of the number of completed epochs that returns a message if the run falls
            behind its prediction; optional.
        baseline: Baseline model that the run must match to avoid early stopping; needs
            ``validation``.
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
        callbacks: Sequence[keras.callbacks.Callback] | keras.callbacks.Callback | None = (),
        drop_remainder: bool = False,
        steps_per_execution: int | None = None,
        probe: bool = True,
        checkpoints: CheckpointManager | None = None,
        start: Callable[[], None] | None = None,
        process_group: ProcessGroup | None = None,
        lr_scale_factor: float = 1.0,
        eta: Callable[[int], str | None] | None = None,
        baseline: BaselineModel | None = None,
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
        compiled_steps = self._model.steps_per_execution
        self._steps_per_execution = steps_per_execution or (
            compiled_steps if compiled_steps > 1 else None
        )
        self._process_group = process_group or SingleProcess()
        self._lr_scale_factor = lr_scale_factor
        self._start = start
        self._eta = eta
        self._baseline = baseline
        self._throughput = ThroughputMonitor(steps, feed, self._process_group, enabled=probe)
        self._checkpoint = (
            None
            if checkpoints is None
            else TrainingCheckpoint(
                checkpoints,
                self._model,
                plan,
                recorder,
                baseline,
                feed=feed,
                process_group=self._process_group,
                lr_scale_factor=lr_scale_factor,
            )
        )
        # As fit(), which takes a single callback, nested lists and None as well.
        self._own_callbacks = [] if callbacks is None else keras.tree.flatten(callbacks)
        self._every_train_batch = needs_every_batch(self._own_callbacks, TRAIN_BATCH_HOOKS)
        self._every_test_batch = needs_every_batch(self._own_callbacks, TEST_BATCH_HOOKS)
        self._epoch_logs = EpochLogs()
        self._callbacks = keras.callbacks.CallbackList(
            [*self._own_callbacks, self._epoch_logs],
            model=self._model,
            epochs=plan.total_epochs,
            steps=None,
            verbose=0,
        )
        self._state = LoopState()
        self._interrupt = DeferredInterrupt()
        self._batches: Iterator[Any] | None = None
        self._epochs_open = 0
        self._is_first_call = True

    def run(self) -> None:
        """Runs the plan to completion, or until a callback or baseline early stopping ends it.

        Raises:
            ConfigError: A callback or the checkpoint does not fit the training.
            TrainingDivergedError: The loss of a step is not finite.
            KeyboardInterrupt: SIGINT was received; a checkpoint has been saved.
            SystemExit: SIGTERM was received; a checkpoint has been saved.
        """
        with contextlib.ExitStack() as stack:
            if self._checkpoint is not None:
                check_resumable(self._own_callbacks)
                stack.enter_context(self._interrupt)
                stack.enter_context(contextlib.closing(self._checkpoint.manager))
            stack.enter_context(self._steps.layers.watching())
            self._run()

    def _run(self) -> None:
        self._model.stop_training = False
        # All processes must read the metrics together, even if only the chief's callbacks need it.
        hooks = self._process_group.broadcast([self._every_train_batch, self._every_test_batch])
        self._every_train_batch, self._every_test_batch = map(bool, hooks)
        is_resumed = self._checkpoint is not None and self._checkpoint.find()
        if is_resumed:
            keep_logs(self._own_callbacks, len(self._recorder.epochs))
        elif self._start is not None:
            self._start()
        self._callbacks.on_train_begin()
        if is_resumed:
            self._restore()
        elif self._baseline is not None:
            assert self._validation is not None
            self._baseline.measure(self._validation.run)
        self._steps.retrace()
        logs: dict[str, float] = {}
        while (upcoming := self._plan.current_phase_epochs()) and not self._model.stop_training:
            spec = upcoming[0]
            if self._state.phase is None:
                self._begin_phase(spec)
            if not self._epochs_open:
                self._open(upcoming)
            logs = self._run_epoch(spec)
            following = self._plan.current_phase_epochs()
            if not following or following[0].phase != spec.phase or self._model.stop_training:
                self._end_phase()
            self._save_if_due()
        if self._checkpoint is not None:
            self._checkpoint.finish()
        # With use_ema the averaged weights of the optimizer are the result, as in fit().
        self._model.optimizer.finalize_variable_values(self._model.trainable_weights)
        self._callbacks.on_train_end(logs)
        self._save_if_due()  # A signal may have arrived since the last epoch.

    def _restore(self) -> None:
        """Restores model, callbacks and position from the checkpoint that was found."""
        assert self._checkpoint is not None
        upcoming = self._plan.current_phase_epochs()
        if upcoming and not all(each.built for each in optimizers(self._model).values()):
            # A train_step builds its own optimizers when it is traced.
            size = upcoming[0].batch_size
            self._steps.profile(iter(dataset_of_one(self._feed.sample(size))), [size])
        self._state = self._checkpoint.restore(self._own_callbacks)
        self._epoch_logs.restore(self._recorder.epochs)
        self._model.stop_training = self._state.stopped
        self._steps.layers.restore(self._state.layers)

    def _begin_phase(self, spec: EpochSpec) -> None:
        self._state.begin_phase(spec)
        self._throughput.begin_phase()
        set_learning_rate(self._model, spec.learning_rate * self._lr_scale_factor)

    def _end_phase(self) -> None:
        first = self._state.phase
        assert first is not None
        examples_per_s, wait_pct = self._recorder.phase_throughput(first.phase)
        self._recorder.phase(
            first,
            reason=self._state.reason,
            metrics=self._recorder.epochs[-1].metrics,
            bottleneck=self._throughput.diagnose(wait_pct, examples_per_s),
            bounds=self._throughput.bounds,
        )
        self._state.phase = None
        self._epochs_open = 0

    def _open(self, upcoming: Sequence[EpochSpec]) -> None:
        """Opens the stream of the upcoming epochs at the current step of the first one."""
        done = self._state.steps_done * upcoming[0].batch_size
        epochs = [range(spec.start, self._stop(spec)) for spec in upcoming]
        epochs[0] = epochs[0][done:]
        self._batches = iter(self._feed.batches(epochs, upcoming[0].batch_size))
        self._epochs_open = len(epochs)

    def _stop(self, spec: EpochSpec) -> int:
        whole = spec.examples // spec.batch_size * spec.batch_size
        return spec.start + whole if self._drop_remainder and whole else spec.stop

    def _run_epoch(self, spec: EpochSpec) -> dict[str, float]:
        state = self._state
        planned = self._stop(spec) - spec.start
        steps = math.ceil(planned / spec.batch_size)
        self._callbacks.params["steps"] = steps
        if not state.steps_done:
            self._callbacks.on_epoch_begin(spec.epoch)
            self._model.reset_metrics()
        self._train(spec, planned)
        self._steps.synchronize()
        logs = self._steps.metrics_result()
        if self._validation is not None:
            validated = self._validation.run(self._callbacks, every_batch=self._every_test_batch)
            logs |= {f"val_{name}": value for name, value in validated.items()}
        record = self._recorder.epoch(
            spec,
            learning_rate(self._model),
            state.rows,
            seconds=state.seconds,
            examples=min(len(state.rows) * spec.batch_size, planned),
            first_step_s=state.first_step_s,
            metrics=logs,
        )
        self._report_progress(spec, steps, steps, record.examples_per_s, logs)
        self._callbacks.on_epoch_end(spec.epoch, logs)
        added = self._epoch_logs.added(logs)
        self._recorder.add_metrics(added)
        if self._eta and (message := self._eta(spec.epoch + 1)):
            self._recorder.event("pace", message)
            progress.log_warning(message)
        if self._baseline is not None:
            remaining = self._plan.remaining_epochs()
            self._baseline.on_epoch_end(remaining and remaining[1:])
        self._throughput.probe(spec.batch_size, record.step_ms_p50 / 1e3, self._recorder.trained_s)
        input_bound, examples_per_s, noise_scale, *values = self._follow_chief(
            self._throughput.is_input_bound(record.input_wait_pct),
            record.examples_per_s,
            math.nan if record.noise_scale is None else record.noise_scale,
            *scalars(logs).values(),
        )
        result = EpochResult(
            spec,
            learning_rate(self._model) / self._lr_scale_factor,
            # Only the chief has callbacks; policies must decide alike in all processes.
            dict(zip(scalars(logs), values, strict=True))
            | (added if self._process_group.size == 1 else {}),
            input_bound=bool(input_bound),
            examples_per_s=examples_per_s,
            noise_scale=None if math.isnan(noise_scale) else noise_scale,
        )
        for decision in self._plan.advance(result):
            if decision.kind == "phase":
                state.next_reason = decision.reason
            self._recorder.event(decision.kind, decision.reason)
        state.end_epoch()
        self._epochs_open -= 1
        return logs

    def _train(self, spec: EpochSpec, planned: int) -> None:
        """Trains the remaining steps of an epoch of ``planned`` examples."""
        state = self._state
        steps = math.ceil(planned / spec.batch_size)
        count = self._before_call(state.steps_done, 1, is_first=True)
        while True:  # At least one step, as in fit(), even if a hook has ended the training.
            first = state.steps_done * spec.batch_size
            sizes = batch_sizes(planned - first, spec.batch_size)[:count]
            traces, begin = self._steps.traces, time.perf_counter()
            rows = self._call(spec, sizes)
            elapsed = time.perf_counter() - begin
            if self._steps.traces > traces:
                state.first_step_s = elapsed
                elapsed = float(rows[:, :2].sum())
            self._check_loss(spec, rows)
            state.add(rows, elapsed)
            remaining = steps - state.steps_done
            if self._every_train_batch:
                logs = self._steps.batch_logs()
                self._callbacks.on_train_batch_end(state.steps_done - 1, logs)
            else:
                count = self._steps_per_execution or step_timer.steps_per_call(
                    count, elapsed, self._steps.min_steps_per_call
                )
            if remaining:
                examples_per_s = state.steps_done * spec.batch_size / state.seconds
                self._report_progress(spec, state.steps_done, steps, examples_per_s, {})
                count = self._save_if_due(spec, min(count, remaining))
            count = self._before_call(state.steps_done, count, is_last=not remaining)
            if not remaining or self._model.stop_training:
                break

    def _before_call(
        self, step: int, count: int, *, is_first: bool = False, is_last: bool = False
    ) -> int:
        """Runs the batch-begin hooks and returns how many steps the next compiled call may run."""
        ends = is_last or (self._model.stop_training and not is_first)
        if self._every_train_batch and not ends:
            self._callbacks.on_train_batch_begin(step)
        if not ends:
            self._steps.follow_callbacks(
                is_first=self._is_first_call, processes=self._process_group.size
            )
            self._is_first_call = False
        return int(self._follow_chief(count)[0])

    def _follow_chief(self, *values: float) -> list[float]:
        """Adopts the chief's learning rate and ``stop_training``; returns the chief's values."""
        if self._process_group.size == 1:
            return list(values)
        own = [self._model.stop_training, learning_rate(self._model), *values]
        stop, rate, *rest = self._process_group.broadcast([float(value) for value in own])
        self._model.stop_training = bool(stop)
        set_learning_rate(self._model, rate)
        return rest

    def _call(self, spec: EpochSpec, sizes: Sequence[int]) -> np.ndarray:
        """Runs one compiled call; halves the micro-batch if the first batch does not fit."""
        state = self._state
        if state.phase_fits or spec.batch_size == 1 or self._process_group.size > 1:
            return self._steps.train(self._batches, sizes)
        before = capture(self._model)
        while True:
            try:
                rows = self._steps.train(self._batches, sizes)
            except tf.errors.ResourceExhaustedError:
                if self._steps.max_micro_batch_size == 1:
                    raise
                size = self._steps.halve_micro_batches(spec.batch_size)
                self._recorder.event(
                    "out_of_memory",
                    f"A batch of {spec.batch_size} did not fit: micro-batches of {size} now.",
                    spec.start,
                )
                restore(self._model, before)
                self._open(self._plan.current_phase_epochs())
                continue
            state.phase_fits = True
            return rows

    def _check_loss(self, spec: EpochSpec, rows: np.ndarray) -> None:
        bad = np.flatnonzero(~np.isfinite(rows[:, LOSS]))
        if not len(bad):
            return
        step = self._state.steps_done + int(bad[0])
        first = spec.start + step * spec.batch_size
        last = min(first + spec.batch_size, spec.stop)
        checkpoint = self._checkpoint.manager.latest_path() if self._checkpoint else None
        raise TrainingDivergedError(
            f"The loss was {rows[bad[0], LOSS]} at step {step + 1} of epoch {spec.epoch + 1} "
            f"(learning rate {learning_rate(self._model):.3g}, batch {spec.batch_size}), on the "
            f"examples at positions {first} to {last - 1}{self._ids(range(first, last))}. Last "
            f"good checkpoint: {checkpoint or 'none'}. Lower the learning rate, clip the "
            "gradients, or inspect these examples."
        )

    def _ids(self, positions: range) -> str:
        """Returns the ids of the examples at some positions, if they have a feature ``id``."""
        features = next(iter(self._feed.batches([positions], len(positions))))[0]
        if "id" not in features:
            return ""
        return f", ids {[str(value) for value in features['id'].numpy().ravel()[:10]]}"

    def _save_if_due(self, spec: EpochSpec | None = None, count: int = 1) -> int:
        """Saves a checkpoint if one is due; returns how many steps to run until the next one."""
        if self._checkpoint is None:
            return count
        manager = self._checkpoint.manager
        batch_size = spec.batch_size if spec else 1
        seen = self._recorder.examples_seen + self._state.steps_done * batch_size
        # If a callback has stopped the epoch, its end follows at once and saves; a checkpoint from
        # within the epoch would not hold the stop.
        is_stopped = spec is not None and self._model.stop_training
        is_due, is_interrupted = self._process_group.broadcast(
            [
                manager.should_save(seen) and not is_stopped,
                self._interrupt.is_requested and not is_stopped,
            ]
        )
        if is_due or (is_interrupted and not manager.is_saved(seen)):
            self._steps.synchronize()
            self._state.layers = self._steps.layers.state()
            self._checkpoint.save(self._state, seen, self._own_callbacks)
        if is_interrupted:
            self._checkpoint.finish()
            self._interrupt.interrupt()
        examples = manager.examples_until_due(seen)
        return count if examples is None else min(count, math.ceil(examples / batch_size))

    def _report_progress(
        self,
        spec: EpochSpec,
        step: int,
        steps: int,
        examples_per_s: float,
        metrics: dict[str, float],
    ) -> None:
        progress.report_progress(
            progress.Progress(
                epoch=spec.epoch,
                epochs=self._plan.total_epochs,
                phase=spec.phase,
                step=step,
                steps=steps,
                learning_rate=learning_rate(self._model),
                batch_size=spec.batch_size,
                examples_per_s=examples_per_s,
                metrics=scalars(metrics),
            )
        )
