"""Plan that a rule decides epoch by epoch."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tfx_feeder.components.feeder_trainer.schedules.plan import (
    EpochResult,
    PolicyDecision,
    check_epoch_is_due,
)
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec, Phase, Schedule


@dataclass(frozen=True, slots=True)
class PhaseChange:
    """Phase that begins with the next epoch.

    Args:
        learning_rate: Learning rate of the phase; above 0.
        batch_size: Global batch size in examples.
        reason: One sentence with the figures behind the change.
    """

    learning_rate: float
    batch_size: int
    reason: str


class AdaptiveRule(Protocol):
    """Decision rule of an adaptive policy."""

    def fixed_epochs(self) -> int | None:
        """Returns the number of epochs before the next possible change; ``None`` if unlimited."""
        ...

    def on_epoch_end(self, result: EpochResult) -> PhaseChange | PolicyDecision | None:
        """Records the result of an epoch and returns the decision that follows, if any."""
        ...

    def state(self) -> dict[str, Any]:
        """Returns the state of the rule as a JSON-serializable dict."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state`` returned."""
        ...


class AdaptivePlan:
    """Plan that starts with one phase and lets a rule begin others until the length is reached.

    Args:
        start: First phase; its length is that of the whole training.
        rule: Rule that decides after each epoch.
        num_examples: Number of examples in one pass over the training splits.
        steps_per_epoch: Number of steps per epoch; ``None`` for one pass over the data.
        policy: Name of the policy.
        needs_noise_scale: True if the rule requires the gradient noise scale.

    Raises:
        ConfigError: If the batch exceeds the data.
    """

    def __init__(
        self,
        start: Phase,
        rule: AdaptiveRule,
        num_examples: int,
        *,
        steps_per_epoch: int | None,
        policy: str,
        needs_noise_scale: bool = False,
    ) -> None:
        self.policy = policy
        self.needs_noise_scale = needs_noise_scale
        self._schedule = Schedule([start], steps_per_epoch)
        self._schedule.validate(num_examples)
        self._rule = rule
        self._num_examples = num_examples
        self._length = start.length
        self._rate = start.learning_rate
        self._batch = start.batch_size
        self._phase = self._epoch = self._position = 0
        self._examples_left = start.length.amount * self._unit_examples()
        """Examples until the end at the current batch size."""

    @property
    def total_epochs(self) -> int | None:
        """Number of epochs; ``None`` if it depends on the batch size."""
        steps = self._schedule.steps_per_epoch
        per_epoch = {"ep": 1, "steps": steps, "ex": None if steps else self._num_examples}
        units = per_epoch[self._length.unit]
        return None if units is None else math.ceil(self._length.amount / units)

    def current_phase_epochs(self) -> list[EpochSpec]:
        """Returns the epochs before the next possible change."""
        return list(itertools.islice(self._epoch_specs(), self._rule.fixed_epochs()))

    def remaining_epochs(self) -> list[EpochSpec] | None:
        """Returns all remaining epochs, or ``None`` if the rule may change them."""
        return self.current_phase_epochs() if self._rule.fixed_epochs() is None else None

    def advance(self, result: EpochResult) -> list[PolicyDecision]:
        """Records a finished epoch; see ``Plan``."""
        check_epoch_is_due(next(self._epoch_specs(), None), result.spec)
        self._epoch += 1
        self._position += result.spec.examples
        self._examples_left -= result.spec.examples
        decision = self._rule.on_epoch_end(result)
        if isinstance(decision, PolicyDecision):
            return [decision]
        if decision is None or not self._examples_left:
            return []
        before = self._unit_examples()
        self._phase += 1
        self._rate, self._batch = decision.learning_rate, decision.batch_size
        self._examples_left = self._examples_left * self._unit_examples() // before
        return [PolicyDecision("phase", decision.reason)]

    def state(self) -> dict[str, Any]:
        """Returns the state of the plan and its rule as a JSON-serializable dict."""
        return {
            "phase": self._phase,
            "epoch": self._epoch,
            "position": self._position,
            "learning_rate": self._rate,
            "batch_size": self._batch,
            "examples_left": self._examples_left,
            "rule": self._rule.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state`` returned."""
        self._phase, self._epoch = state["phase"], state["epoch"]
        self._position, self._examples_left = state["position"], state["examples_left"]
        self._rate, self._batch = state["learning_rate"], state["batch_size"]
        self._rule.restore(state["rule"])

    def _epoch_specs(self) -> Iterator[EpochSpec]:
        full = self._schedule.epoch_examples(self._batch, self._num_examples)
        for index, done in enumerate(range(0, self._examples_left, full)):
            yield EpochSpec(
                phase=self._phase,
                epoch=self._epoch + index,
                learning_rate=self._rate,
                batch_size=self._batch,
                start=self._position + done,
                examples=min(full, self._examples_left - done),
            )

    def _unit_examples(self) -> int:
        """Returns the number of examples in one unit of the length."""
        full = self._schedule.epoch_examples(self._batch, self._num_examples)
        unit = dataclasses.replace(self._length, amount=1)
        return unit.in_examples(batch_size=self._batch, epoch_examples=full)
