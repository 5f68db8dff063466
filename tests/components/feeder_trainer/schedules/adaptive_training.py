"""Simulated training with an adaptive policy, without a model."""

from collections.abc import Callable, Sequence
from typing import Any

from tfx_feeder.components.feeder_trainer.schedules.plan import EpochResult, Plan, PolicyDecision
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec

NUM_EXAMPLES = 1000


def make_result(spec: EpochSpec, **observed: Any) -> EpochResult:
    return EpochResult(spec, **({"learning_rate": spec.learning_rate, "metrics": {}} | observed))


def train(
    plan: Plan, observe: Callable[[EpochSpec], dict[str, Any]]
) -> list[tuple[EpochSpec, list[PolicyDecision]]]:
    """Trains to the end; ``observe`` returns the fields of each result."""
    epochs = []
    while fixed := plan.current_phase_epochs():
        spec = fixed[0]
        epochs.append((spec, plan.advance(make_result(spec, **observe(spec)))))
    return epochs


def losses(values: Sequence[float], **also: Any) -> Callable[[EpochSpec], dict[str, Any]]:
    return lambda spec: {"metrics": {"val_loss": values[spec.epoch]}} | also


def batches(epochs: list[tuple[EpochSpec, list[PolicyDecision]]]) -> list[int]:
    return [spec.batch_size for spec, _ in epochs]


def decisions(epochs: list[tuple[EpochSpec, list[PolicyDecision]]]) -> list[PolicyDecision]:
    return [decision for _, decided in epochs for decision in decided]
