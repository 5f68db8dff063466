"""Preview of a schedule or policy, computed without training."""

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tfx_feeder.components.feeder_trainer.schedules.policy import Policy
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """Summary of one phase.

    Args:
        phase: Index of the phase, from 0.
        epochs: Number of epochs, including a partial one.
        examples: Number of examples.
        steps: Number of optimizer updates.
        learning_rate: Learning rate at the start of the phase.
        batch_size: Global batch size in examples.
    """

    phase: int
    epochs: int
    examples: int
    steps: int
    learning_rate: float
    batch_size: int


@dataclass(frozen=True, slots=True)
class Preview:
    """Phases known before training; ``pipeline.cli.schedule.print_preview`` displays them.

    Args:
        rows: One row per phase.
        replicas: Number of replicas that share a batch.
        description: Description of the decisions made during training; empty if there are none.
    """

    rows: tuple[PreviewRow, ...]
    replicas: int
    description: str

    def to_dict(self) -> dict[str, Any]:
        """Returns the preview as a JSON-serializable dict."""
        return dataclasses.asdict(self)


def preview(schedule: Schedule | Policy, num_examples: int, replicas: int = 1) -> Preview:
    """Returns a preview of a schedule or policy.

    Args:
        schedule: Schedule, or policy that generates its phases.
        num_examples: Number of examples in one pass over the training splits.
        replicas: Number of replicas that share a batch.

    Raises:
        ConfigError: If the schedule does not fit ``num_examples`` or ``replicas``.

    Example:
        >>> rows = preview(Schedule.from_value("0.01:32x10, 0.005:64x10"), num_examples=50_000).rows
        >>> [row.steps for row in rows]
        [15630, 7820]
    """
    schedule.validate(num_examples, replicas)
    description = ""
    if not isinstance(schedule, Schedule):
        schedule, description = schedule.schedule(num_examples), schedule.describe()
    return Preview(tuple(_rows(schedule, num_examples)), replicas, description)


def _rows(schedule: Schedule, num_examples: int) -> Iterator[PreviewRow]:
    specs = schedule.epoch_specs(num_examples)
    for phase, group in itertools.groupby(specs, key=lambda spec: spec.phase):
        epochs = list(group)
        yield PreviewRow(
            phase=phase,
            epochs=len(epochs),
            examples=sum(epoch.examples for epoch in epochs),
            steps=sum(epoch.steps for epoch in epochs),
            learning_rate=epochs[0].learning_rate,
            batch_size=epochs[0].batch_size,
        )
