"""Where a training loop stands, saved to a checkpoint and brought back from one."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from tfx_feeder.components.feeder_trainer.model.state import capture, restore
from tfx_feeder.components.feeder_trainer.schedules.plan import Plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec
from tfx_feeder.components.feeder_trainer.training.callbacks import (
    capture_callbacks,
    restore_callbacks,
)
from tfx_feeder.components.feeder_trainer.training.checkpoint import Checkpoint, CheckpointManager
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder

_NO_ROWS = np.empty((0, 6))
_ROWS, _MODEL, _CALLBACKS = "rows", "model/", "callbacks/"


@dataclass
class LoopState:
    """Where the loop stands within an epoch.

    Args:
        phase: First epoch of the phase that is open; ``None`` between two phases.
        reason: Why that phase began.
        next_reason: Why the next one begins.
        phase_fits: Whether a batch of this phase has fitted into memory.
        rows: What the steps of this epoch returned so far, ``[steps, 6]``.
        seconds: Time of these steps.
        first_step_s: Duration of a call of this epoch that was compiled.
        to_beat: What the base model reaches; ``None`` where nothing is compared with it.
        stopped: Whether the training was stopped, between two epochs.
    """

    phase: EpochSpec | None = None
    reason: str = ""
    next_reason: str = "start"
    phase_fits: bool = False
    rows: np.ndarray = field(default_factory=lambda: _NO_ROWS)
    seconds: float = 0.0
    first_step_s: float | None = None
    to_beat: float | None = None
    stopped: bool = False
    _callbacks: tuple[list[Mapping[str, Any]], Mapping[str, np.ndarray]] | None = None

    @property
    def steps_done(self) -> int:
        """Steps of this epoch that are done."""
        return len(self.rows)

    def begin_phase(self, first: EpochSpec) -> None:
        """Opens a phase with its first epoch."""
        self.phase, self.reason, self.phase_fits = first, self.next_reason, False

    def add(self, rows: np.ndarray, seconds: float) -> None:
        """Counts the steps of one call."""
        self.rows = np.concatenate([self.rows, rows])
        self.seconds += seconds

    def end_epoch(self) -> None:
        """Makes ready for the next epoch."""
        self.rows, self.seconds, self.first_step_s = _NO_ROWS, 0.0, None

    def restore_callbacks(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        """Gives callbacks what they remembered when the state was saved; once."""
        if self._callbacks is not None:
            restore_callbacks(callbacks, *self._callbacks)
            self._callbacks = None


def save(
    folder: CheckpointManager,
    state: LoopState,
    examples_seen: int,
    model: keras.Model,
    plan: Plan,
    recorder: Recorder,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Writes a checkpoint of everything that a training consists of."""
    remembered, arrays = capture_callbacks(callbacks)
    folder.write(
        Checkpoint(
            examples_seen,
            arrays={
                _ROWS: state.rows,
                **{_MODEL + name: array for name, array in capture(model).items()},
                **{_CALLBACKS + name: array for name, array in arrays.items()},
            },
            state={
                "phase": None if state.phase is None else dataclasses.asdict(state.phase),
                "reason": state.reason,
                "next_reason": state.next_reason,
                "seconds": state.seconds,
                "first_step_s": state.first_step_s,
                "to_beat": state.to_beat,
                # Within an epoch it has not been carried out yet.
                "stopped": state.phase is None and model.stop_training,
                "callbacks": remembered,
                "plan": plan.state(),
                "recorder": recorder.state(),
            },
        )
    )


def load(
    folder: CheckpointManager | None, model: keras.Model, plan: Plan, recorder: Recorder
) -> LoopState | None:
    """Brings everything back from the newest checkpoint that is whole.

    Returns:
        Where the loop stood; ``None`` if there is no checkpoint.

    Raises:
        ConfigError: The checkpoint belongs to another model.
    """
    if folder is None:
        return None
    checkpoint = folder.read_last(lambda message: recorder.event("damaged_checkpoint", message))
    if checkpoint is None:
        return None
    arrays, saved = checkpoint.arrays, checkpoint.state
    restore(model, _below(arrays, _MODEL))
    plan.restore(saved["plan"])
    recorder.restore(saved["recorder"])
    recorder.event(
        "resume",
        f"The training went on from its checkpoint at {checkpoint.examples_seen} examples.",
        checkpoint.examples_seen,
    )
    return LoopState(
        phase=None if saved["phase"] is None else EpochSpec(**saved["phase"]),
        reason=saved["reason"],
        next_reason=saved["next_reason"],
        rows=arrays[_ROWS],
        seconds=saved["seconds"],
        first_step_s=saved["first_step_s"],
        to_beat=saved["to_beat"],
        stopped=saved["stopped"],
        _callbacks=(saved["callbacks"], _below(arrays, _CALLBACKS)),
    )


def _below(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
