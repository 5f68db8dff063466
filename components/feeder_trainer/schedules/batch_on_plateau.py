"""Policy that increases the batch size on a plateau."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import check_among, check_at_least, check_number_at_least_0
from tfx_feeder.components.feeder_trainer.schedules.adaptive import AdaptivePlan, PhaseChange
from tfx_feeder.components.feeder_trainer.schedules.growth_trial import GrowthTrial
from tfx_feeder.components.feeder_trainer.schedules.lr_scaling import EXPONENT_OF_OPTIMIZER
from tfx_feeder.components.feeder_trainer.schedules.plan import EpochResult, Plan, PolicyDecision
from tfx_feeder.components.feeder_trainer.schedules.policy import Policy
from tfx_feeder.components.feeder_trainer.schedules.schedule import (
    Phase,
    Schedule,
    check_steps_per_epoch,
)


@dataclass(frozen=True, slots=True)
class IncreaseBatchOnPlateau(Policy):
    """Increases the batch size where Keras's ``ReduceLROnPlateau`` would cut the learning rate.

    Multiplying the batch size by ``factor`` is equivalent to dividing the learning rate by it (SGD:
    Smith et al. 2018, "Don't Decay the Learning Rate, Increase the Batch Size"; Adam, with the rate
    also divided by ``sqrt(factor)``: Meterez et al. 2025, "Seesaw"). Once the batch size reaches
    ``max_batch_size``, the rate is cut as in ``ReduceLROnPlateau``.

    Args:
        start: First phase; its length is that of the whole training.
        max_batch_size: Largest global batch size in examples; the batch never exceeds the split.
        monitor: Name of the metric to monitor.
        factor: Factor of the batch size increase or the learning rate cut; 2 or more.
        patience: Number of epochs without improvement before a change; 1 or more.
        min_delta: Smallest change of the metric that counts as an improvement.
        mode: ``"min"`` or ``"max"``, the direction of improvement; ``"auto"`` selects ``"max"`` if
            the name of the metric contains ``acc`` or ``auc``.
        min_learning_rate: Lower bound of the learning rate.
        optimizer: ``"sgd"``, or ``"adam"`` for optimizers that normalize their updates.
        steps_per_epoch: Number of steps per epoch; ``None`` for one pass over the data.

    Raises:
        ConfigError: If a value is out of range.
    """

    NAME: ClassVar[str] = "on_plateau"
    TEXT_OPTIONS: ClassVar[Mapping[str, str]] = {
        "max": "max_batch_size",
        "monitor": "monitor",
        "factor": "factor",
        "patience": "patience",
        "min_delta": "min_delta",
        "mode": "mode",
        "min_lr": "min_learning_rate",
        "optimizer": "optimizer",
    }

    start: Phase
    max_batch_size: int
    monitor: str = "val_loss"
    factor: int = 2
    patience: int = 3
    min_delta: float = 1e-4
    mode: str = "auto"
    min_learning_rate: float = 0.0
    optimizer: str = "sgd"
    steps_per_epoch: int | None = None

    def __post_init__(self) -> None:
        start = Phase.from_value(self.start)
        check_at_least("max_batch_size", self.max_batch_size, start.batch_size)
        check_at_least("factor", self.factor, 2)
        check_at_least("patience", self.patience, 1)
        check_number_at_least_0("min_delta", self.min_delta)
        check_among("mode", self.mode, ("auto", "min", "max"))
        check_number_at_least_0("min_learning_rate", self.min_learning_rate)
        check_among("optimizer", self.optimizer, EXPONENT_OF_OPTIMIZER)
        check_steps_per_epoch(self.steps_per_epoch)
        object.__setattr__(self, "start", start)

    def schedule(self, num_examples: int) -> Schedule:
        """Returns the first phase; see ``Policy``."""
        return Schedule([self.start], self.steps_per_epoch)

    def plan(self, num_examples: int) -> Plan:
        """Returns a new plan; see ``Policy``."""
        return AdaptivePlan(
            self.start,
            _PlateauRule(self, max_batch_size=min(self.max_batch_size, num_examples)),
            num_examples,
            steps_per_epoch=self.steps_per_epoch,
            policy=self.NAME,
        )

    def describe(self) -> str:
        """Returns a description of the decisions made during training; see ``Policy``."""
        return (
            f"After {self.patience} epochs without improvement of {self.monitor}, the batch size "
            f"is multiplied by {self.factor}, up to {self.max_batch_size}; after that, the "
            "learning rate is cut instead."
        )


class _PlateauRule:
    """Counts epochs without improvement.

    Args:
        policy: Policy with the options of the rule.
        max_batch_size: Largest global batch size in examples; beyond it, the rate is cut.
    """

    def __init__(self, policy: IncreaseBatchOnPlateau, max_batch_size: int) -> None:
        self._policy = policy
        self._exponent = EXPONENT_OF_OPTIMIZER[policy.optimizer]
        self._trial = GrowthTrial(max_batch_size, self._exponent, policy.min_learning_rate)
        maximize = any(part in policy.monitor for part in ("acc", "auc"))
        self._sign = -1 if policy.mode == "max" or (policy.mode == "auto" and maximize) else 1
        self._best: float | None = None
        self._wait = 0

    def fixed_epochs(self) -> int:
        return self._trial.epochs_left or max(1, self._policy.patience - self._wait)

    def on_epoch_end(self, result: EpochResult) -> PhaseChange | PolicyDecision | None:
        value = self._monitored(result)
        best = math.inf if self._best is None else self._sign * self._best
        if self._sign * value < best - self._policy.min_delta:
            self._best, self._wait = value, 0
        else:
            self._wait += 1
        if change := self._trial.on_epoch_end(result):
            self._wait = 0
            return change
        if self._trial.epochs_left or self._wait < self._policy.patience:
            return None
        self._wait = 0
        return self._react(result)

    def _monitored(self, result: EpochResult) -> float:
        name = self._policy.monitor
        if name not in result.metrics:
            raise ConfigError(
                "on_plateau monitor",
                received=name,
                expected=f"one of the metrics {', '.join(sorted(result.metrics))}",
            )
        return result.metrics[name]

    def _react(self, result: EpochResult) -> PhaseChange | PolicyDecision:
        policy, batch, rate = self._policy, result.spec.batch_size, result.learning_rate
        best = "has not been finite" if self._best is None else f"no better than {self._best:.4g}"
        why = f"{policy.monitor} {best} for {policy.patience} epochs"
        grown = max(batch, min(batch * policy.factor, self._trial.max_batch_size))
        new_rate = rate * (grown / batch) ** self._exponent / policy.factor
        # A rate that a callback has lowered below the minimum is not raised back to it.
        new_rate = min(rate, max(new_rate, policy.min_learning_rate))
        if (new_rate, grown) == (rate, batch):
            return PolicyDecision(
                "unchanged",
                f"{why}, but batch ({batch}) and learning rate ({rate:.4g}) are at their limits",
            )
        if grown > batch:
            self._trial.begin(result)
        changes = [f"batch {batch} → {grown}"] if grown > batch else []
        changes += [f"learning rate {rate:.4g} → {new_rate:.4g}"] if new_rate < rate else []
        return PhaseChange(new_rate, grown, f"{why}: {', '.join(changes)}")

    def state(self) -> dict[str, Any]:
        return {"best": self._best, "wait": self._wait, "trial": self._trial.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._best, self._wait = state["best"], state["wait"]
        self._trial.restore(state.get("trial", {}))
