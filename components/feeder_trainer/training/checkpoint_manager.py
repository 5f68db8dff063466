"""Checkpoints that survive a kill at any moment, written beside the training.

Each is a folder ``at-<examples seen>``.
"""

import itertools
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from tfx_feeder.common.errors import FeederError
from tfx_feeder.components.feeder_trainer.training.checkpoint_files import (
    PREFIX,
    Checkpoint,
    TrainingId,
    committed,
    different_parts,
    read_checkpoint,
    remove_checkpoint,
    write_checkpoint,
)
from tfx_feeder.components.feeder_trainer.training.checkpoint_lock import try_lock, unlock

MAX_COST_FRACTION = 0.05
"""Maximum fraction of the time spent on checkpoints, unless their interval is given in examples."""

_OLD_PARTIAL = ".partial-*"
"""Unfinished checkpoints of release 0.1.0."""

Warn = Callable[[str], None]


class CheckpointManager:
    """Saves checkpoints periodically, keeps the newest, and finds the last intact one.

    The folder belongs to one training and to one running process. If it contains checkpoints of
    another training, or another process uses it, the next of ``folder-2``, ``folder-3``, ... is
    taken.

    Args:
        folder: Folder of the checkpoints.
        training_id: Identity of the training. Checkpoints whose identity has a different value for
            one of the keys are not used; checkpoints of release 0.1.0 have no identity.
        every_s: Seconds between two checkpoints; more if they would take more than
            ``MAX_COST_FRACTION`` of the time.
        every_examples: Examples between two checkpoints; replaces ``every_s``.
        keep: Number of checkpoints to keep.
        read_only: If True, another process saves the checkpoints and this one only restores them.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        training_id: TrainingId | None = None,
        every_s: float = 60.0,
        every_examples: int | None = None,
        keep: int = 2,
        read_only: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self._base = Path(folder)
        self._training_id = dict(training_id or {})
        self._every_s = every_s
        self._every_examples = every_examples
        self._keep = keep
        self._read_only = read_only
        self._lock: IO[bytes] | None = None
        self._writer: threading.Thread | None = None
        self._error: Exception | None = None
        self._cost_s = 0.0
        self._last_time = time.monotonic()
        self._last_examples = 0
        self._is_saved = False

    # Ownership of the folder.

    def open(self, warn: Warn) -> int:
        """Takes the first folder that neither another training nor another process uses.

        Args:
            warn: Function that receives one sentence for each folder that is passed over.

        Returns:
            The number of the folder, for ``open_read_only`` of other processes.
        """
        begun = [n for n in self._existing() if committed(self._numbered(n))]
        numbers = itertools.chain(begun, (n for n in itertools.count(1) if n not in begun))
        while True:
            number = next(numbers)
            folder = self._numbered(number)
            lock = try_lock(folder)
            if lock is None:
                warn(f"Another process that is running uses the checkpoints in {folder}.")
                continue
            if different := different_parts(folder, self._training_id):
                unlock(folder, lock)
                warn(
                    f"The checkpoints in {folder} belong to another training, which differs in "
                    f"its {' and '.join(different)}; they are not used."
                )
                continue
            self.folder, self._lock = folder, lock
            return number

    def open_read_only(self, number: int) -> None:
        """Uses the folder that another process has opened.

        Args:
            number: Return value of ``open`` in that process.
        """
        self.folder = self._numbered(number)

    def close(self) -> None:
        """Waits for the last write, whose error is ignored, and gives the folder free."""
        self.finish()
        if self._lock is not None:
            unlock(self.folder, self._lock)
            self._lock = None

    def remove(self) -> None:
        """Removes the checkpoints of this training, except those that a running process uses."""
        self.close()
        for number in self._existing():
            folder = self._numbered(number)
            lock = try_lock(folder)
            if lock is None:
                continue
            if not different_parts(folder, self._training_id):
                shutil.rmtree(folder, ignore_errors=True)
            unlock(folder, lock)

    def _existing(self) -> list[int]:
        """Returns the numbers of the folders that exist."""
        first = [1] if self._base.exists() else []
        prefix = f"{self._base.name}-"
        suffixes = [path.name.removeprefix(prefix) for path in self._base.parent.glob(f"{prefix}*")]
        return first + sorted(int(suffix) for suffix in suffixes if suffix.isdecimal())

    def _numbered(self, number: int) -> Path:
        return self._base if number == 1 else self._base.with_name(f"{self._base.name}-{number}")

    # Intervals.

    def should_save(self, examples_seen: int) -> bool:
        """Returns True if a checkpoint is due, and the last one is not at this position already."""
        if self.is_saved(examples_seen):
            return False
        if self._every_examples is not None:
            return examples_seen - self._last_examples >= self._every_examples
        if self._writer is not None and self._writer.is_alive():
            return False
        pause_s = max(self._every_s, self._cost_s * (1 / MAX_COST_FRACTION - 1))
        return time.monotonic() - self._last_time >= pause_s

    def examples_until_due(self, examples_seen: int) -> int | None:
        """Returns the number of examples until the next checkpoint; ``None`` if time decides."""
        if self._every_examples is None:
            return None
        return max(1, self._last_examples + self._every_examples - examples_seen)

    def is_saved(self, examples_seen: int) -> bool:
        """Returns True if the last checkpoint, saved or restored, is at this position."""
        return self._is_saved and self._error is None and self._last_examples == examples_seen

    # Files.

    def save(self, checkpoint: Checkpoint, *, began: float | None = None) -> Path:
        """Begins to write a checkpoint in a thread, which then removes the oldest checkpoints.

        Waits first for the previous write. Call ``finish`` to wait for this one.

        Args:
            checkpoint: Checkpoint; its arrays must not be modified any more.
            began: Value of ``time.monotonic`` when its state began to be copied, which counts as
                cost of the checkpoint; ``None`` for now.

        Returns:
            The folder of the checkpoint.
        """
        began = time.monotonic() if began is None else began
        self.finish()
        self._last_examples = checkpoint.examples_seen
        self._is_saved = True
        folder = self._folder_at(checkpoint.examples_seen)
        if self._read_only:
            self._last_time = time.monotonic()
            return folder

        def write() -> None:
            try:
                self._write(checkpoint, folder)
            except Exception as error:
                self._error = error
            self._last_time = time.monotonic()
            self._cost_s = self._last_time - began

        self._error = None
        self._writer = threading.Thread(target=write, name="checkpoint")
        self._writer.start()
        return folder

    def finish(self) -> OSError | None:
        """Waits for the current write.

        Returns:
            The error because of which it failed, once; ``None`` if it succeeded.

        Raises:
            Exception: The checkpoint contains what cannot be written.
        """
        if self._writer is None:
            return None
        self._writer.join()
        self._writer = None
        if self._error is None or isinstance(self._error, OSError):
            return self._error
        raise self._error

    def restore_latest(self, warn: Warn) -> Checkpoint | None:
        """Reads the newest intact checkpoint.

        Args:
            warn: Function that receives one sentence for each damaged checkpoint.

        Returns:
            The checkpoint; ``None`` if there is none.
        """
        for folder in reversed(committed(self.folder)):
            try:
                checkpoint = read_checkpoint(folder)
            except (OSError, ValueError, KeyError) as error:
                warn(f"The checkpoint {folder} is damaged and was skipped: {error}")
                continue
            return self._restored(checkpoint)
        return None

    def restore_at(self, examples_seen: int) -> Checkpoint:
        """Reads the checkpoint at a position, at which another process has read it.

        Args:
            examples_seen: Position in the stream of examples.

        Raises:
            FeederError: This process cannot read it.
        """
        folder = self._folder_at(examples_seen)
        try:
            return self._restored(read_checkpoint(folder))
        except (OSError, ValueError, KeyError) as error:
            raise FeederError(
                f"The chief resumes from the checkpoint {folder}, which this process cannot read: "
                f"{error}. All machines must see the same folder of checkpoints."
            ) from error

    def latest_path(self) -> Path | None:
        """Returns the folder of the newest complete checkpoint."""
        folders = committed(self.folder)
        return folders[-1] if folders else None

    def _restored(self, checkpoint: Checkpoint) -> Checkpoint:
        self._last_examples, self._is_saved = checkpoint.examples_seen, True
        return checkpoint

    def _folder_at(self, examples_seen: int) -> Path:
        return self.folder / f"{PREFIX}{examples_seen:015d}"

    def _write(self, checkpoint: Checkpoint, folder: Path) -> None:
        write_checkpoint(checkpoint, self._training_id, folder)
        # Checkpoints at later positions are damaged: this training has passed them over.
        intact = [path for path in committed(self.folder) if path.name <= folder.name]
        kept = intact[-self._keep :]
        for old in [*self.folder.glob(f"{PREFIX}*"), *self.folder.glob(_OLD_PARTIAL)]:
            if old not in kept:
                remove_checkpoint(old)
