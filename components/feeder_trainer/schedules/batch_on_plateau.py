"""A batch that grows when training comes to a standstill."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import check_among, check_at_least, check_number_at_least_0
from tfx_feeder.components.feeder_trainer.schedules.adaptive import AdaptivePlan, PhaseChange
from tfx_feeder.components.feeder_trainer.schedules.lr_scaling import EXPONENT_OF_OPTIMIZER
from tfx_feeder.components.feeder_trainer.schedules.plan import EpochResult, Plan, PolicyDecision
from tfx_feeder.components.feeder_trainer.schedules.policy import (
    Policy,
)
from tfx_feeder.components.feeder_trainer.schedules.schedule import (
    Phase,
    Schedule,
    check_steps_per_epoch,
)


@dataclass(frozen=True, slots=True)
class IncreaseBatchOnPlateau(Policy):
    """Grows the batch where Keras's ``ReduceLROnPlateau`` would cut the learning rate.

    A rate divided by ``factor`` and a batch multiplied by it are worth the same (SGD: Smith et al.
    2018, "Don't Decay the Learning Rate, Increase the Batch Size"; Adam, with the rate divided by
    ``sqrt(factor)`` besides: Meterez et al. 2025, "Seesaw"). From ``max_batch_size`` on the rate
    is cut, as ``ReduceLROnPlateau`` does.

    Args:
        start: The first phase; its length is that of the whole training.
        max_batch_size: The batch grows no further, nor beyond the examples of the split.
        monitor: The metric to watch.
        factor: By which the batch grows or the rate is cut; 2 or more.
        patience: Epochs without improvement before that; 1 or more.
        min_delta: A smaller change of the metric is no improvement.
        mode: ``"min"`` or ``"max"``: which way is better; ``"auto"``: max where the metric's name
            has ``acc`` or ``auc`` in it.
        min_learning_rate: The rate is cut no further.
        optimizer: ``"sgd"`` or ``"adam"``: the kind of update, with or without normalisation.
        steps_per_epoch: Steps in an epoch; ``None``: an epoch is one pass.

    Raises:
        ConfigError: A value is out of range.
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
        """Returns a fresh plan; see ``Policy``."""
        return AdaptivePlan(
            self.start,
            _PlateauRule(self, largest=min(self.max_batch_size, num_examples)),
            num_examples,
            steps_per_epoch=self.steps_per_epoch,
            policy=self.NAME,
        )

    def describe(self) -> str:
        """Says what is decided while training; see ``Policy``."""
        return (
            f"After {self.patience} epochs in which {self.monitor} does not improve, the batch "
            f"grows by a factor of {self.factor} up to {self.max_batch_size}; from then on the "
            "learning rate is cut instead."
        )


class _PlateauRule:
    """Counts epochs without improvement.

    Args:
        policy: The options.
        largest: Batch size in examples beyond which the rate is cut.
    """

    def __init__(self, policy: IncreaseBatchOnPlateau, largest: int) -> None:
        self._policy = policy
        self._largest = largest
        rises = any(part in policy.monitor for part in ("acc", "auc"))
        self._sign = -1 if policy.mode == "max" or (policy.mode == "auto" and rises) else 1
        self._best: float | None = None
        self._wait = 0

    def fixed_epochs(self) -> int:
        return self._policy.patience - self._wait

    def on_epoch_end(self, feedback: EpochResult) -> PhaseChange | PolicyDecision | None:
        value = self._monitored(feedback)
        best = math.inf if self._best is None else self._sign * self._best
        if self._sign * value < best - self._policy.min_delta:
            self._best, self._wait = value, 0
            return None
        self._wait += 1
        if self._wait < self._policy.patience:
            return None
        self._wait = 0
        return self._react(feedback)

    def _monitored(self, feedback: EpochResult) -> float:
        name = self._policy.monitor
        if name not in feedback.metrics:
            raise ConfigError(
                "on_plateau monitor",
                received=name,
                expected=f"one of the metrics {', '.join(sorted(feedback.metrics))}",
            )
        return feedback.metrics[name]

    def _react(self, feedback: EpochResult) -> PhaseChange | PolicyDecision:
        policy, batch, rate = self._policy, feedback.spec.batch_size, feedback.learning_rate
        seen = "has not been a number" if self._best is None else f"no better than {self._best:.4g}"
        why = f"{policy.monitor} {seen} for {policy.patience} epochs"
        grown = max(batch, min(batch * policy.factor, self._largest))
        if grown > batch and feedback.input_bound:
            return PolicyDecision(
                "kept", f"{why}, but training waits for its input: the batch stays at {batch}"
            )
        growth = grown / batch
        new_rate = rate * growth ** EXPONENT_OF_OPTIMIZER[policy.optimizer] / policy.factor
        # A rate that a callback has brought below the minimum is not raised to it.
        new_rate = min(rate, max(new_rate, policy.min_learning_rate))
        if (new_rate, grown) == (rate, batch):
            return PolicyDecision(
                "kept", f"{why}, but batch ({batch}) and learning rate ({rate:.4g}) are at the end"
            )
        changes = [f"batch {batch} → {grown}"] if grown > batch else []
        changes += [f"learning rate {rate:.4g} → {new_rate:.4g}"] if new_rate < rate else []
        return PhaseChange(new_rate, grown, f"{why}: {', '.join(changes)}")

    def state(self) -> dict[str, Any]:
        return {"best": self._best, "wait": self._wait}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._best, self._wait = state["best"], state["wait"]
