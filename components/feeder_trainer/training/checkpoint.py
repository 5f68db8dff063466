"""Checkpoints that survive a kill at any moment: written aside, renamed, verified when read.

A checkpoint is a folder ``at-<examples seen>`` that holds the arrays, the remaining state as JSON,
and the hashes of both files. One atomic rename gives the folder its name, so a partial checkpoint
is never mistaken for a complete one.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfx_feeder.components.feeder_trainer.model.state import capture, restore
from tfx_feeder.components.feeder_trainer.schedules.plan import Plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec
from tfx_feeder.components.feeder_trainer.training.baseline import BaselineModel
from tfx_feeder.components.feeder_trainer.training.callbacks import (
    capture_callbacks,
    restore_callbacks,
)
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder

_ARRAYS = "arrays.npz"
_STATE = "state.json"
_HASHES = "hashes.json"
_PREFIX = "at-"
_NO_ROWS = np.empty((0, 6))
_ROWS, _MODEL, _CALLBACKS = "rows", "model/", "callbacks/"
_BASELINE_METRIC = "to_beat"
"""Stored name, kept so that checkpoints of earlier releases can be restored."""


@dataclass(frozen=True)
class Checkpoint:
    """The complete state of a training run at one moment.

    Args:
        examples_seen: Position in the stream of examples.
        arrays: Variables and other arrays.
        state: All other state, as JSON values.
    """

    examples_seen: int
    arrays: Mapping[str, np.ndarray]
    state: Mapping[str, Any]


class CheckpointManager:
    """Saves checkpoints periodically, keeps the newest, and finds the last intact one.

    Args:
        folder: Folder of the checkpoints; created on the first save.
        every_s: Seconds between two checkpoints.
        every_examples: Examples between two checkpoints; replaces ``every_s``.
        keep: Number of checkpoints to keep.
        read_only: If True, another process saves the checkpoints and this one only restores them.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        every_s: float = 60.0,
        every_examples: int | None = None,
        keep: int = 2,
        read_only: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self._every_s = every_s
        self._every_examples = every_examples
        self._keep = keep
        self._read_only = read_only
        self._last_time = time.monotonic()
        self._last_examples = 0

    def should_save(self, examples_seen: int) -> bool:
        """Returns True if a checkpoint is due."""
        if self._every_examples is not None:
            return examples_seen - self._last_examples >= self._every_examples
        return time.monotonic() - self._last_time >= self._every_s

    def examples_until_due(self, examples_seen: int) -> int | None:
        """Returns the number of examples until the next checkpoint; ``None`` if time decides."""
        if self._every_examples is None:
            return None
        return max(1, self._last_examples + self._every_examples - examples_seen)

    def save(self, checkpoint: Checkpoint) -> Path:
        """Saves a checkpoint atomically and removes the oldest ones.

        Returns:
            The folder of the checkpoint.
        """
        self._last_time = time.monotonic()
        self._last_examples = checkpoint.examples_seen
        final = self.folder / f"{_PREFIX}{checkpoint.examples_seen:015d}"
        if self._read_only:
            return final
        partial = self.folder / f".partial-{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with open(partial / _ARRAYS, "wb") as file:
            np.savez(file, **{k: np.asarray(v) for k, v in checkpoint.arrays.items()})
        document = {"examples_seen": checkpoint.examples_seen, **checkpoint.state}
        (partial / _STATE).write_text(json.dumps(document))
        hashes = {name: _hash(partial / name) for name in (_ARRAYS, _STATE)}
        (partial / _HASHES).write_text(json.dumps(hashes))
        for name in (_ARRAYS, _STATE, _HASHES):
            _sync(partial / name)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)
        for old in self._all()[: -self._keep]:
            shutil.rmtree(old, ignore_errors=True)
        return final

    def restore_latest(self, warn: Callable[[str], None]) -> Checkpoint | None:
        """Reads the newest intact checkpoint.

        Args:
            warn: Function that receives one sentence for each damaged checkpoint.

        Returns:
            The checkpoint; ``None`` if there is none.
        """
        for folder in reversed(self._all()):
            try:
                checkpoint = _read(folder)
            except (OSError, ValueError, KeyError) as error:
                warn(f"The checkpoint {folder} is damaged and was skipped: {error}")
                continue
            self._last_examples = checkpoint.examples_seen
            return checkpoint
        return None

    def latest_path(self) -> Path | None:
        """Returns the folder of the newest checkpoint."""
        folders = self._all()
        return folders[-1] if folders else None

    def remove(self) -> None:
        """Removes all checkpoints after the run has finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob(f"{_PREFIX}*"))


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
    """

    phase: EpochSpec | None = None
    reason: str = ""
    next_reason: str = "start"
    phase_fits: bool = False
    rows: np.ndarray = field(default_factory=lambda: _NO_ROWS)
    seconds: float = 0.0
    first_step_s: float | None = None
    stopped: bool = False

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
    """

    def __init__(
        self,
        manager: CheckpointManager,
        model: keras.Model,
        plan: Plan,
        recorder: Recorder,
        baseline: BaselineModel | None = None,
    ) -> None:
        self.manager = manager
        self._model = model
        self._plan = plan
        self._recorder = recorder
        self._baseline = baseline
        self._callbacks: tuple[list[Mapping[str, Any]], Mapping[str, np.ndarray]] | None = None

    def save(
        self,
        state: LoopState,
        examples_seen: int,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        """Saves the run.

        Args:
            state: Position of the loop.
            examples_seen: Position in the stream of examples.
            callbacks: Callbacks whose state is saved as well.
        """
        callback_states, callback_arrays = capture_callbacks(callbacks)
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
            "callbacks": callback_states,
            "plan": self._plan.state(),
            "recorder": self._recorder.state(),
        }
        self.manager.save(Checkpoint(examples_seen, arrays, document))

    def restore(self) -> LoopState | None:
        """Restores the run from the newest intact checkpoint.

        Returns:
            Position of the loop; ``None`` if there is no checkpoint.

        Raises:
            ConfigError: The checkpoint belongs to another model.
        """
        checkpoint = self.manager.restore_latest(
            lambda message: self._recorder.event("damaged_checkpoint", message)
        )
        if checkpoint is None:
            return None
        arrays, saved = checkpoint.arrays, checkpoint.state
        restore(self._model, _below(arrays, _MODEL))
        self._plan.restore(saved["plan"])
        self._recorder.restore(saved["recorder"])
        self._recorder.event(
            "resume",
            f"Resumed from the checkpoint at {checkpoint.examples_seen} examples.",
            checkpoint.examples_seen,
        )
        if self._baseline is not None:
            self._baseline.baseline_metric = saved[_BASELINE_METRIC]
        self._callbacks = saved["callbacks"], _below(arrays, _CALLBACKS)
        names = {each.name for each in dataclasses.fields(LoopState)} & saved.keys()
        state = LoopState(**{name: saved[name] for name in names}, rows=arrays[_ROWS])
        state.phase = None if saved["phase"] is None else EpochSpec(**saved["phase"])
        return state

    def restore_callbacks(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        """Restores the state of callbacks, once after each ``restore``."""
        if self._callbacks is not None:
            restore_callbacks(callbacks, *self._callbacks)
            self._callbacks = None


def _read(folder: Path) -> Checkpoint:
    for name, expected in json.loads((folder / _HASHES).read_text()).items():
        if _hash(folder / name) != expected:
            raise ValueError(f"the hash of {name} does not match")
    state = json.loads((folder / _STATE).read_text())
    with np.load(folder / _ARRAYS) as file:
        arrays = {name: file[name] for name in file.files}
    return Checkpoint(state.pop("examples_seen"), arrays, state)


def _below(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    """Flushes a file to disk; a rename may otherwise be persisted before the data."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
