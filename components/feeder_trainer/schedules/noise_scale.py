"""Policy that adapts the batch size to the gradient noise scale."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import check_among, check_at_least
from tfx_feeder.components.feeder_trainer.schedules.adaptive import AdaptivePlan, PhaseChange
from tfx_feeder.components.feeder_trainer.schedules.growth_trial import GrowthTrial
from tfx_feeder.components.feeder_trainer.schedules.lr_scaling import EXPONENT_OF_RULE
from tfx_feeder.components.feeder_trainer.schedules.plan import EpochResult, Plan, PolicyDecision
from tfx_feeder.components.feeder_trainer.schedules.policy import Policy
from tfx_feeder.components.feeder_trainer.schedules.schedule import (
    Phase,
    Schedule,
    check_steps_per_epoch,
)

_DECAY = 0.5
"""Decay of the moving average per epoch."""

_OLD_MODES = {"advise": "report", "act": "apply"}
"""Values of ``mode`` in schedules written by earlier releases."""


@dataclass(frozen=True, slots=True)
class GradientNoiseScale(Policy):
    """Keeps the batch size near the gradient noise scale.

    The noise scale is the trace of the covariance of the per-example gradients, divided by the
    squared norm of their mean. With a batch of that size, training takes twice the minimum number
    of steps and twice the minimum number of examples; smaller batches waste steps, larger ones
    waste examples (McCandlish et al. 2018, "An Empirical Model of Large-Batch Training"). The
    policy takes one estimate per epoch and keeps a geometric moving average with a decay of 0.5,
    because estimates vary by whole factors.

    The batch size changes by one ``factor`` at a time, once the average has differed from it by at
    least ``factor`` for ``patience`` consecutive epochs. This hysteresis prevents oscillation:
    after a change, the average must move by another whole factor.

    Args:
        start: First phase; its length is that of the whole training.
        min: Smallest global batch size in examples; at most that of ``start``.
        max: Largest global batch size in examples; the batch never exceeds the split.
        mode: ``"report"`` only records the recommended batch size; ``"apply"`` changes it.
        factor: Factor of a batch size change; 2 or more.
        patience: Number of consecutive epochs that must call for a change; 1 or more.
        lr_rule: Scaling of the learning rate with the batch size: ``"sqrt"``, ``"linear"`` or
            ``"none"``. The optimal rate for SGD in the paper, ``1 / (1 + noise_scale / batch)``,
            grows by 1.5 when the batch doubles up to the noise scale, which is close to the square
            root.
        steps_per_epoch: Number of steps per epoch; ``None`` for one pass over the data.

    Raises:
        ConfigError: If a value is out of range.
    """

    NAME: ClassVar[str] = "noise_scale"
    TEXT_OPTIONS: ClassVar[Mapping[str, str]] = {
        "min": "min",
        "max": "max",
        "mode": "mode",
        "factor": "factor",
        "patience": "patience",
        "lr_rule": "lr_rule",
    }

    start: Phase
    min: int
    max: int
    mode: str = "report"
    factor: int = 2
    patience: int = 2
    lr_rule: str = "sqrt"
    steps_per_epoch: int | None = None

    def __post_init__(self) -> None:
        start = Phase.from_value(self.start)
        check_at_least("min", self.min, 1)
        check_at_least("max", self.max, start.batch_size)
        if self.min > start.batch_size:
            raise ConfigError(
                "min", received=self.min, expected=f"at most the {start.batch_size} of start"
            )
        mode = _OLD_MODES.get(str(self.mode), self.mode)
        check_among("mode", mode, ("report", "apply"))
        check_at_least("factor", self.factor, 2)
        check_at_least("patience", self.patience, 1)
        check_among("lr_rule", self.lr_rule, EXPONENT_OF_RULE)
        check_steps_per_epoch(self.steps_per_epoch)
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "mode", mode)

    def schedule(self, num_examples: int) -> Schedule:
        """Returns the first phase; see ``Policy``."""
        return Schedule([self.start], self.steps_per_epoch)

    def validate(self, num_examples: int, replicas: int = 1) -> None:
        """Checks the first phase and the smallest batch size; see ``Policy``."""
        smallest = Phase(self.start.learning_rate, self.min, self.start.length)
        Schedule([self.start, smallest]).validate(num_examples, replicas)

    def plan(self, num_examples: int) -> Plan:
        """Returns a new plan; see ``Policy``."""
        return AdaptivePlan(
            self.start,
            _NoiseScaleRule(self, max_batch_size=min(self.max, num_examples)),
            num_examples,
            steps_per_epoch=self.steps_per_epoch,
            policy=self.NAME,
            needs_noise_scale=True,
        )

    def describe(self) -> str:
        """Returns a description of the decisions made during training; see ``Policy``."""
        if self.mode == "report":
            return "The batch size is fixed; the history records what the noise scale recommends."
        return (
            f"The batch size follows the gradient noise scale between {self.min} and {self.max}, "
            f"by a factor of {self.factor} at a time; the learning rate scales with it (rule: "
            f"{self.lr_rule})."
        )


class _NoiseScaleRule:
    """Averages the estimates and counts the epochs that call for a different batch size.

    Args:
        policy: Policy with the options of the rule.
        max_batch_size: Largest global batch size in examples.
    """

    def __init__(self, policy: GradientNoiseScale, max_batch_size: int) -> None:
        self._policy = policy
        self._exponent = EXPONENT_OF_RULE[policy.lr_rule]
        self._trial = GrowthTrial(max_batch_size, self._exponent)
        self._log_average: float | None = None
        self._wait = 0
        self._reported: int | None = None

    def fixed_epochs(self) -> int | None:
        if self._policy.mode == "report":
            return None
        return self._trial.epochs_left or max(1, self._policy.patience - self._wait)

    def on_epoch_end(self, result: EpochResult) -> PhaseChange | PolicyDecision | None:
        change = self._trial.on_epoch_end(result)
        due = self._count(result)
        if change:
            self._wait = 0
            return change
        if self._trial.epochs_left or not due:
            return None
        self._wait = 0
        return self._react(result)

    def _count(self, result: EpochResult) -> bool:
        """Averages the estimate of an epoch; returns True once ``patience`` epochs agree."""
        estimate = result.noise_scale
        # Close to a minimum, the estimate of the squared gradient norm can be negative.
        if estimate is None or not 0 < estimate < math.inf:
            return False
        past = math.log(estimate) if self._log_average is None else self._log_average
        self._log_average = _DECAY * past + (1 - _DECAY) * math.log(estimate)
        batch = result.spec.batch_size
        differs = self._target_batch_size(batch) != batch
        self._wait = self._wait + 1 if differs else 0
        return self._wait >= self._policy.patience

    def _react(self, result: EpochResult) -> PhaseChange | PolicyDecision | None:
        batch = result.spec.batch_size
        target = self._target_batch_size(batch)
        why = f"gradient noise scale {self._average():.0f} examples at a batch of {batch}"
        if self._policy.mode == "report":
            return self._report(target, why)
        step = self._policy.factor
        new = min(target, batch * step) if target > batch else max(target, batch // step)
        rate = result.learning_rate
        new_rate = rate * (new / batch) ** self._exponent
        if new > batch:
            self._trial.begin(result)
        reason = f"{why}: batch {batch} → {new}, learning rate {rate:.4g} → {new_rate:.4g}"
        return PhaseChange(new_rate, new, reason)

    def _average(self) -> float:
        assert self._log_average is not None
        return math.exp(self._log_average)

    def _target_batch_size(self, batch: int) -> int:
        """Returns the batch size a whole number of factors away, rounded toward ``batch``."""
        distance = math.log(self._average() / batch, self._policy.factor)
        target = batch * float(self._policy.factor) ** math.trunc(distance)
        return max(self._policy.min, min(math.ceil(target), self._trial.max_batch_size))

    def _report(self, target: int, why: str) -> PolicyDecision | None:
        if target == self._reported:
            return None
        self._reported = target
        return PolicyDecision("advice", f"{why}: a batch of {target} would fit better")

    def state(self) -> dict[str, Any]:
        return {
            "log_average": self._log_average,
            "wait": self._wait,
            "advised": self._reported,
            "trial": self._trial.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._log_average, self._wait = state["log_average"], state["wait"]
        self._reported = state["advised"]
        self._trial.restore(state.get("trial", {}))
