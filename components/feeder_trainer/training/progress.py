"""Progress of a run, reported through ``logging`` so that each runner can display it.

Each record of the logger ``tfx_feeder.progress`` is a readable line; its attribute ``progress``
holds the same data as a ``Progress``. A record that this logger does not show goes to the logger
of absl, whose verbosity TFX pipelines set.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LOGGER = logging.getLogger("tfx_feeder.progress")


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a run.

    Args:
        epoch: Index of the current epoch, from 0.
        epochs: Epochs in the whole schedule; ``None`` if a policy decides during training.
        phase: Index of the current phase, from 0.
        step: Completed steps of this epoch.
        steps: Steps in this epoch.
        learning_rate: Current learning rate.
        batch_size: Current global batch size.
        examples_per_s: Throughput of this epoch so far.
        metrics: Loss and metrics so far; validation metrics after the end of the epoch.
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
        """True if the epoch is complete."""
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
    """Logs the progress, at level INFO at the end of an epoch and DEBUG within it."""
    level = logging.INFO if progress.done else logging.DEBUG
    _log(level, str(progress), progress=progress)


def report_selection(choice: Any) -> None:
    """Logs the selected strategy with its reason; the log record has it as attribute ``choice``.

    Args:
        choice: Result of the strategy selection.
    """
    text = f"strategy {choice.selected.strategy}: {choice.selected.reason}"
    _log(logging.INFO, text, choice=choice)
    if choice.warning:
        log_warning(choice.warning)


def report_resume(sentence: str) -> None:
    """Logs that the run resumes from a checkpoint; the log record has it as ``resumed``."""
    LOGGER.info("%s", sentence, extra={"resumed": sentence})


def log_warning(sentence: str) -> None:
    """Logs a warning for the user while training continues."""
    _log(logging.WARNING, sentence, warning=sentence)


def _log(level: int, text: str, **extra: Any) -> None:
    logger = LOGGER if LOGGER.isEnabledFor(level) else logging.getLogger("absl")
    logger.log(level, "%s", text, extra=extra)
