"""Progress of a training, told through ``logging`` so that any runner can show it its own way.

Each record of the logger ``tfx_feeder.progress`` reads well as a line, and carries the same as a
``Progress`` in its attribute ``progress``.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LOGGER = logging.getLogger("tfx_feeder.progress")


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands.

    Args:
        epoch: Index of the current epoch, from 0.
        epochs: Epochs in the whole schedule; ``None`` where a policy decides as it goes.
        phase: Index of the current phase, from 0.
        step: Steps done in this epoch.
        steps: Steps in this epoch.
        learning_rate: Rate now.
        batch_size: Global batch size now.
        examples_per_s: Over this epoch so far.
        metrics: Loss and metrics so far; ``val_`` ones once the epoch is done.
    """

    epoch: int
    epochs: int | None
    phase: int
    step: int
    steps: int
    learning_rate: float
    batch_size: int
    examples_per_s: float
    metrics: Mapping[str, float]

    @property
    def done(self) -> bool:
        """Whether the epoch is over."""
        return self.step == self.steps

    def __str__(self) -> str:
        of_epochs = "" if self.epochs is None else f"/{self.epochs}"
        metrics = " ".join(f"{name} {value:.4f}" for name, value in self.metrics.items())
        return (
            f"epoch {self.epoch + 1}{of_epochs} step {self.step}/{self.steps} "
            f"lr {self.learning_rate:.3g} batch {self.batch_size} "
            f"{self.examples_per_s:,.0f} examples/s {metrics}"
        )


def report_progress(progress: Progress) -> None:
    """Logs one state of progress: INFO at an epoch's end, DEBUG within."""
    level = logging.INFO if progress.done else logging.DEBUG
    LOGGER.log(level, "%s", progress, extra={"progress": progress})


def report_selection(choice: Any) -> None:
    """Logs which strategy was chosen, and why; the record carries it as ``choice``.

    Args:
        choice: A ``selection.Choice``.
    """
    text = f"strategy {choice.selected.strategy}: {choice.selected.reason}"
    LOGGER.info("%s", text, extra={"choice": choice})
    if choice.warning:
        log_warning(choice.warning)


def log_warning(sentence: str) -> None:
    """Logs something that the user should know while the training goes on."""
    LOGGER.warning("%s", sentence, extra={"warning": sentence})
