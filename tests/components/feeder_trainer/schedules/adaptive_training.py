"""Trainings by a policy that decides while they go on, without a model."""

from collections.abc import Callable, Sequence
from typing import Any

from tfx_feeder.components.feeder_trainer.schedules.plan import EpochResult, Plan, PolicyDecision
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec

NUM_EXAMPLES = 1000


def feedback(segment: EpochSpec, **seen: Any) -> EpochResult:
    return EpochResult(segment, **({"learning_rate": segment.learning_rate, "metrics": {}} | seen))


def train(
    plan: Plan, seen: Callable[[EpochSpec], dict[str, Any]]
) -> list[tuple[EpochSpec, list[PolicyDecision]]]:
    """Trains to the end; ``seen`` makes the feedback of each epoch."""
    epochs = []
    while upcoming := plan.current_phase_epochs():
        segment = upcoming[0]
        epochs.append((segment, plan.advance(feedback(segment, **seen(segment)))))
    return epochs


def losses(values: Sequence[float], **also: Any) -> Callable[[EpochSpec], dict[str, Any]]:
    return lambda segment: {"metrics": {"val_loss": values[segment.epoch]}} | also


def batches(epochs: list[tuple[EpochSpec, list[PolicyDecision]]]) -> list[int]:
    return [segment.batch_size for segment, _ in epochs]


def decisions(epochs: list[tuple[EpochSpec, list[PolicyDecision]]]) -> list[PolicyDecision]:
    return [decision for _, decided in epochs for decision in decided]
