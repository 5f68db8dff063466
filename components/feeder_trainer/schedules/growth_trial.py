"""Trial of a larger batch size in an input-bound training, judged by the measured throughput.

The time that a training waits for its input does not tell whether larger batches help. If the wait
is a fixed cost per batch, as with a cached feed and a small model, the throughput grows with the
batch size; if it is a cost per example, as with decoding, the throughput stays.
"""

from collections.abc import Mapping
from typing import Any

from tfx_feeder.components.feeder_trainer.schedules.adaptive import PhaseChange
from tfx_feeder.components.feeder_trainer.schedules.plan import EpochResult

TRIAL_EPOCHS = 3
"""Epochs of a trial. Of these and of as many before them, the fastest ones are compared: opening
the feed and other processes only ever slow an epoch down."""

MIN_SPEEDUP = 1.1
"""Throughput relative to the smaller batch size from which the larger one is kept; the throughput
of equal epochs varies by several percent."""


class GrowthTrial:
    """Keeps a larger batch size if it is faster, and returns to the smaller one otherwise.

    Args:
        max_batch_size: Largest global batch size in examples.
        exponent: Exponent with which the learning rate scales with the batch size.
        min_learning_rate: Lower bound of the learning rate after a failed trial.
    """

    def __init__(
        self, max_batch_size: int, exponent: float, min_learning_rate: float = 0.0
    ) -> None:
        self.max_batch_size = max_batch_size
        """Largest batch size in examples; a failed trial lowers it."""
        self._exponent = exponent
        self._min_learning_rate = min_learning_rate
        self._epochs_left = 0
        self._smaller = 0
        self._smaller_examples_per_s = 0.0
        self._batch_size = 0
        self._examples_per_s: list[float] = []

    @property
    def epochs_left(self) -> int:
        """Number of epochs until the decision; 0 if there is no trial."""
        return self._epochs_left

    def begin(self, result: EpochResult) -> None:
        """Begins a trial if the training is input-bound.

        Args:
            result: Last epoch with the smaller batch size.
        """
        if result.input_bound:
            self._epochs_left = TRIAL_EPOCHS
            self._smaller = self._batch_size
            self._smaller_examples_per_s = max(self._examples_per_s)

    def on_epoch_end(self, result: EpochResult) -> PhaseChange | None:
        """Records an epoch; returns the change to the smaller batch size if a trial failed.

        To be called after every epoch, before ``begin``.
        """
        if result.spec.batch_size != self._batch_size:
            self._batch_size, self._examples_per_s = result.spec.batch_size, []
        self._examples_per_s = [*self._examples_per_s, result.examples_per_s][-TRIAL_EPOCHS:]
        if not self._epochs_left:
            return None
        self._epochs_left -= 1
        before, after = self._smaller_examples_per_s, max(self._examples_per_s)
        if self._epochs_left or after >= MIN_SPEEDUP * before:
            return None
        batch, smaller, rate = self._batch_size, self._smaller, result.learning_rate
        self.max_batch_size = smaller
        new_rate = rate * (smaller / batch) ** self._exponent
        # A rate that a callback has lowered below the minimum is not raised back to it.
        new_rate = min(rate, max(new_rate, self._min_learning_rate))
        changes = [f"batch {batch} → {smaller}"]
        changes += [f"learning rate {rate:.4g} → {new_rate:.4g}"] if new_rate < rate else []
        reason = (
            f"a batch of {batch} is not faster: {after:,.0f} examples/s, and {before:,.0f} at "
            f"{smaller}: {', '.join(changes)}"
        )
        return PhaseChange(new_rate, smaller, reason)

    def state(self) -> dict[str, Any]:
        """Returns the state of the trial as a JSON-serializable dict."""
        return {
            "max_batch_size": self.max_batch_size,
            "epochs_left": self._epochs_left,
            "smaller": self._smaller,
            "smaller_examples_per_s": self._smaller_examples_per_s,
            "batch_size": self._batch_size,
            "examples_per_s": self._examples_per_s,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state`` returned; checkpoints of earlier releases hold no trial."""
        if state:
            self.max_batch_size, self._epochs_left = state["max_batch_size"], state["epochs_left"]
            self._smaller = state["smaller"]
            self._smaller_examples_per_s = state["smaller_examples_per_s"]
            self._batch_size, self._examples_per_s = state["batch_size"], state["examples_per_s"]
