"""A batch that follows the gradient noise scale."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import check_among, check_at_least
from tfx_feeder.components.feeder_trainer.schedules.adaptive import AdaptivePlan, PhaseChange
from tfx_feeder.components.feeder_trainer.schedules.lr_scaling import EXPONENT_OF_RULE
from tfx_feeder.components.feeder_trainer.schedules.plan import EpochResult, Plan, PolicyDecision
from tfx_feeder.components.feeder_trainer.schedules.policy import Policy
from tfx_feeder.components.feeder_trainer.schedules.schedule import (
    Phase,
    Schedule,
    check_steps_per_epoch,
)

_WEIGHT_OF_PAST = 0.5
"""Of the moving average, per epoch."""


@dataclass(frozen=True, slots=True)
class GradientNoiseScale(Policy):
    """Keeps the batch near the gradient noise scale.

    The noise scale is the trace of the covariance of the examples' gradients over the squared norm
    of their mean. At a batch of that many examples, training takes twice the steps and twice the
    examples of the least possible: below, steps are wasted, above, examples (McCandlish et al.
    2018, "An Empirical Model of Large-Batch Training"). One estimate an epoch is averaged
    geometrically, with a weight of 0.5 on the past, because it scatters by factors.

    The batch changes by one ``factor`` at a time, when the average has been a ``factor`` or more
    away from it for ``patience`` epochs in a row. After a change the average is about one batch,
    so it has to move by a whole factor before another.

    Args:
        start: The first phase; its length is that of the whole training.
        min: Smallest global batch size, in examples; at most that of ``start``.
        max: Largest global batch size, in examples; the batch never grows beyond the split.
        mode: ``"advise"`` leaves the batch as it is and says which one would fit; ``"act"``
            changes it.
        factor: By which the batch changes; 2 or more.
        patience: Epochs in a row that call for a change before it is made; 1 or more.
        lr_rule: How the rate follows the batch: ``"sqrt"``, ``"linear"`` or ``"none"``. The paper's
            best rate for SGD, ``1 / (1 + noise_scale / batch)``, grows by 1.5 on a doubling up to
            the noise scale: near to the square root.
        steps_per_epoch: Steps in an epoch; ``None``: an epoch is one pass.

    Raises:
        ConfigError: A value is out of range.
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
    mode: str = "advise"
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
                "min", received=self.min, expected=f"at most {start.batch_size}, where it starts"
            )
        check_among("mode", self.mode, ("advise", "act"))
        check_at_least("factor", self.factor, 2)
        check_at_least("patience", self.patience, 1)
        check_among("lr_rule", self.lr_rule, EXPONENT_OF_RULE)
        check_steps_per_epoch(self.steps_per_epoch)
        object.__setattr__(self, "start", start)

    def schedule(self, num_examples: int) -> Schedule:
        """Returns the first phase; see ``Policy``."""
        return Schedule([self.start], self.steps_per_epoch)

    def validate(self, num_examples: int, replicas: int = 1) -> None:
        """Raises what would fail later; see ``Schedule.validate``."""
        smallest = Phase(self.start.learning_rate, self.min, self.start.length)
        Schedule([self.start, smallest]).validate(num_examples, replicas)

    def plan(self, num_examples: int) -> Plan:
        """Returns a fresh plan; see ``Policy``."""
        return AdaptivePlan(
            self.start,
            _NoiseScaleRule(self, largest=min(self.max, num_examples)),
            num_examples,
            steps_per_epoch=self.steps_per_epoch,
            policy=self.NAME,
            needs_noise_scale=True,
        )

    def describe(self) -> str:
        """Says what is decided while training; see ``Policy``."""
        if self.mode == "advise":
            return "The batch stays as it is; the history says which one the noise scale advises."
        return (
            f"The batch follows the gradient noise scale between {self.min} and {self.max}, by a "
            f"factor of {self.factor} at a time; the learning rate follows it (rule: "
            f"{self.lr_rule})."
        )


class _NoiseScaleRule:
    """Averages the estimates and counts the epochs that call for another batch.

    Args:
        policy: The options.
        largest: Largest batch size in examples.
    """

    def __init__(self, policy: GradientNoiseScale, largest: int) -> None:
        self._policy = policy
        self._largest = largest
        self._log_average: float | None = None
        self._wait = 0
        self._advised: int | None = None

    def fixed_epochs(self) -> int | None:
        return None if self._policy.mode == "advise" else self._policy.patience - self._wait

    def on_epoch_end(self, feedback: EpochResult) -> PhaseChange | PolicyDecision | None:
        estimate = feedback.noise_scale
        # Near a minimum the estimate of the gradient's norm can come out negative.
        if estimate is None or not 0 < estimate < math.inf:
            return None
        past = math.log(estimate) if self._log_average is None else self._log_average
        self._log_average = _WEIGHT_OF_PAST * past + (1 - _WEIGHT_OF_PAST) * math.log(estimate)
        average = math.exp(self._log_average)
        batch = feedback.spec.batch_size
        fitting = self._fitting(batch, average)
        self._wait = self._wait + 1 if fitting != batch else 0
        if self._wait < self._policy.patience:
            return None
        self._wait = 0
        why = f"gradient noise scale {average:.0f} examples at a batch of {batch}"
        if self._policy.mode == "advise":
            return self._advise(fitting, why)
        if fitting > batch and feedback.input_bound:
            return PolicyDecision(
                "kept", f"{why}, but training waits for its input: the batch stays at {batch}"
            )
        step = self._policy.factor
        new = min(fitting, batch * step) if fitting > batch else max(fitting, batch // step)
        rate = feedback.learning_rate
        new_rate = rate * (new / batch) ** EXPONENT_OF_RULE[self._policy.lr_rule]
        reason = f"{why}: batch {batch} → {new}, learning rate {rate:.4g} → {new_rate:.4g}"
        return PhaseChange(new_rate, new, reason)

    def _fitting(self, batch: int, average: float) -> int:
        """Returns the batch some whole factors away that is nearest to the average, inside it."""
        distance = math.log(average / batch, self._policy.factor)
        fitting = batch * float(self._policy.factor) ** math.trunc(distance)
        return max(self._policy.min, min(math.ceil(fitting), self._largest))

    def _advise(self, fitting: int, why: str) -> PolicyDecision | None:
        if fitting == self._advised:
            return None
        self._advised = fitting
        return PolicyDecision("advice", f"{why}: a batch of {fitting} would fit better")

    def state(self) -> dict[str, Any]:
        return {"log_average": self._log_average, "wait": self._wait, "advised": self._advised}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._log_average, self._wait = state["log_average"], state["wait"]
        self._advised = state["advised"]
