"""The state of a training run: what a checkpoint contains, and how it is restored."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import keras
import numpy as np

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.base import Feed
from tfx_feeder.components.feeder_trainer.model.builder import learning_rate, set_learning_rate
from tfx_feeder.components.feeder_trainer.model.state import capture, restore
from tfx_feeder.components.feeder_trainer.schedules.plan import Plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec
from tfx_feeder.components.feeder_trainer.training import progress
from tfx_feeder.components.feeder_trainer.training.baseline import BaselineModel
from tfx_feeder.components.feeder_trainer.training.callbacks import (
    capture_callbacks,
    not_captured,
    restore_callbacks,
)
from tfx_feeder.components.feeder_trainer.training.checkpoint_files import Checkpoint
from tfx_feeder.components.feeder_trainer.training.checkpoint_manager import (
    CheckpointManager,
)
from tfx_feeder.components.feeder_trainer.training.process_group import ProcessGroup, SingleProcess
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder

_NO_ROWS = np.empty((0, 6))
_ROWS, _MODEL, _CALLBACKS = "rows", "model/", "callbacks/"
_BASELINE_METRIC = "to_beat"
"""Stored name, kept so that checkpoints of earlier releases can be restored."""
_LR_SCALE_FACTOR = "lr_scale_factor"
_FEED_ORDER = "feed_order"
_NO_CHECKPOINT = -1


@dataclass
class LoopState:
    """Position of the training loop.

    Args:
        phase: First epoch of the open phase; ``None`` between two phases.
        reason: Reason why the open phase began.
        next_reason: Reason why the next phase begins.
        phase_fits: True if a batch of this phase has fitted into memory.
        rows: Rows of the steps of this epoch so far, ``[steps, 6]``.
        seconds: Duration of these steps.
        first_step_s: Duration of a call of this epoch that was traced.
        stopped: True if training was stopped between two epochs.
        layers: Layers that callbacks have frozen or released; see ``TracedLayers.state``.
    """

    phase: EpochSpec | None = None
    reason: str = ""
    next_reason: str = "start"
    phase_fits: bool = False
    rows: np.ndarray = field(default_factory=lambda: _NO_ROWS)
    seconds: float = 0.0
    first_step_s: float | None = None
    stopped: bool = False
    layers: list[list[bool]] | None = None

    @property
    def steps_done(self) -> int:
        """Completed steps of this epoch."""
        return len(self.rows)

    def begin_phase(self, first: EpochSpec) -> None:
        """Opens a phase with its first epoch."""
        self.phase, self.reason, self.phase_fits = first, self.next_reason, False

    def add(self, rows: np.ndarray, seconds: float) -> None:
        """Adds the steps of one call.

        Args:
            rows: Rows of the steps, ``[steps, 6]``.
            seconds: Duration of the call.
        """
        self.rows = np.concatenate([self.rows, rows])
        self.seconds += seconds

    def end_epoch(self) -> None:
        """Resets the epoch's fields for the next epoch."""
        self.rows, self.seconds, self.first_step_s = _NO_ROWS, 0.0, None


class TrainingCheckpoint:
    """Saves and restores everything that a training run consists of.

    Args:
        manager: Checkpoints on disk.
        model: Model to train; its variables are built.
        plan: Plan of the run.
        recorder: Recorder of the run.
        baseline: Baseline model of the run, if any.
        feed: Feed of the run; ``None`` if a checkpoint may be resumed in any order of examples.
        process_group: Processes that run the loop together. All of them restore the checkpoint
            that the chief has found.
        lr_scale_factor: Factor applied to the plan's learning rates in this run.
    """

    def __init__(
        self,
        manager: CheckpointManager,
        model: keras.Model,
        plan: Plan,
        recorder: Recorder,
        baseline: BaselineModel | None = None,
        *,
        feed: Feed | None = None,
        process_group: ProcessGroup | None = None,
        lr_scale_factor: float = 1.0,
    ) -> None:
        self.manager = manager
        self._model = model
        self._plan = plan
        self._recorder = recorder
        self._baseline = baseline
        self._feed = feed
        self._process_group = process_group or SingleProcess()
        self._lr_scale_factor = lr_scale_factor
        self._found: Checkpoint | None = None
        self._has_warned = False

    def save(
        self,
        state: LoopState,
        examples_seen: int,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        """Copies the state of the run and saves the copy while the training goes on.

        Args:
            state: Position of the loop.
            examples_seen: Position in the stream of examples.
            callbacks: Callbacks whose state is saved as well.
        """
        self.finish()
        began = time.monotonic()
        callback_states, callback_arrays = capture_callbacks(callbacks)
        if not self._has_warned and (names := not_captured(callbacks)):
            self._warn(
                "callback_state",
                f"Checkpoints do not contain {', '.join(names)}: after a restart, callbacks_fn "
                "makes them again.",
            )
        self._has_warned = True
        fields = dataclasses.asdict(state)
        del fields["phase_fits"]
        arrays = {
            _ROWS: fields.pop("rows"),
            **{_MODEL + name: array for name, array in capture(self._model).items()},
            **{_CALLBACKS + name: array for name, array in callback_arrays.items()},
        }
        document = {
            **fields,
            # Within an epoch, a stop has not taken effect yet.
            "stopped": state.phase is None and self._model.stop_training,
            _BASELINE_METRIC: self._baseline.baseline_metric if self._baseline else None,
            _LR_SCALE_FACTOR: self._lr_scale_factor,
            _FEED_ORDER: self._feed.order if self._feed else "",
            "callbacks": callback_states,
            "plan": self._plan.state(),
            "recorder": self._recorder.state(),
        }
        self.manager.save(Checkpoint(examples_seen, arrays, document), began=began)

    def finish(self) -> None:
        """Waits for the current write; if it failed, the training goes on without it."""
        error = self.manager.finish()
        if error is None:
            return
        message = (
            f"A checkpoint could not be written to {self.manager.folder}: {error}. The training "
            "goes on; a restart would resume from the previous checkpoint."
        )
        self._warn("checkpoint_failed", message, once=True)

    def find(self) -> bool:
        """Finds the newest intact checkpoint and restores plan and recorder from it.

        Returns:
            True if there is one, for ``restore``.

        Raises:
            ConfigError: The checkpoint is from within a pass over the examples in another order.
        """
        number = examples_seen = _NO_CHECKPOINT
        if self._process_group.is_chief:
            number = self.manager.open(lambda message: self._warn("checkpoint_not_used", message))
            self._found = self.manager.restore_latest(
                lambda message: self._warn("damaged_checkpoint", message)
            )
            if self._found is not None:
                examples_seen = self._found.examples_seen
        if self._process_group.size > 1:
            number, examples_seen = map(int, self._process_group.broadcast([number, examples_seen]))
            if not self._process_group.is_chief:
                self.manager.open_read_only(number)
                if examples_seen != _NO_CHECKPOINT:
                    self._found = self.manager.restore_at(examples_seen)
        if self._found is None:
            return False
        saved = self._found.state
        self._plan.restore(saved["plan"])
        self._check_order(self._found)
        self._recorder.restore(saved["recorder"])
        message = f"Resumed from the checkpoint at {self._found.examples_seen} examples."
        self._recorder.event("resume", message, self._found.examples_seen)
        if self._process_group.is_chief:
            progress.report_resume(message)
        if self._baseline is not None:
            self._baseline.baseline_metric = saved[_BASELINE_METRIC]
        return True

    def _check_order(self, found: Checkpoint) -> None:
        # Release 0.1.0 stored no order; that of a cached feed is still the same.
        order, upcoming = found.state.get(_FEED_ORDER, ""), self._plan.current_phase_epochs()
        if self._feed is None or order == self._feed.order or not upcoming:
            return
        first = upcoming[0]
        position = first.start + len(found.arrays[_ROWS]) * first.batch_size
        if position % self._feed.num_examples:
            raise ConfigError(
                "checkpoint",
                received=f"{found.examples_seen} examples, within a pass in the order {order!r}",
                expected=f"the order {self._feed.order!r} of this training, or the end of a pass",
                fix="Resume with the release, the number of workers and the sharding that wrote "
                f"it, or delete {self.manager.folder} to train from the beginning.",
            )

    def restore(self, callbacks: Sequence[keras.callbacks.Callback] = ()) -> LoopState:
        """Restores the rest of the run, once after ``find`` has returned True.

        Args:
            callbacks: Callbacks, after ``on_train_begin``, which would reset their state.

        Returns:
            Position of the loop.

        Raises:
            ConfigError: The checkpoint belongs to another model.
        """
        assert self._found is not None
        arrays, saved = self._found.arrays, self._found.state
        self._found = None
        restore(self._model, _below(arrays, _MODEL))
        if saved.get(_LR_SCALE_FACTOR, self._lr_scale_factor) != self._lr_scale_factor:
            factor = self._lr_scale_factor / saved[_LR_SCALE_FACTOR]
            set_learning_rate(self._model, learning_rate(self._model) * factor)
        if self._process_group.is_chief:
            restore_callbacks(callbacks, saved["callbacks"], _below(arrays, _CALLBACKS))
        names = {each.name for each in dataclasses.fields(LoopState)} & saved.keys()
        state = LoopState(**{name: saved[name] for name in names}, rows=arrays[_ROWS])
        state.phase = None if saved["phase"] is None else EpochSpec(**saved["phase"])
        return state

    def _warn(self, kind: str, message: str, *, once: bool = False) -> None:
        """Logs a warning and records it, unless the history of the training holds it.

        Args:
            kind: Kind of the event.
            message: One sentence.
            once: If True, only the first event of the kind is recorded: a full disk fails every
                checkpoint, with the name of its folder.
        """
        progress.log_warning(message)
        events = self._recorder.events
        if not any(each.message == message or (once and each.kind == kind) for each in events):
            self._recorder.event(kind, message)


def _below(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
