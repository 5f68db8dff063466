"""A plan that is decided epoch by epoch."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tfx_feeder.components.feeder_trainer.schedules.plan import (
    EpochResult,
    PolicyDecision,
    check_turn,
)
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec, Phase, Schedule


@dataclass(frozen=True, slots=True)
class PhaseChange:
    """The phase that begins with the next epoch.

    Args:
        learning_rate: Above 0.
        batch_size: Global batch size in examples.
        reason: One sentence with the figures that led to it.
    """

    learning_rate: float
    batch_size: int
    reason: str


class AdaptiveRule(Protocol):
    """What an adaptive policy makes of the epochs it sees."""

    def fixed_epochs(self) -> int | None:
        """Returns the number of epochs before which nothing changes; ``None``: all."""
        ...

    def on_epoch_end(self, feedback: EpochResult) -> PhaseChange | PolicyDecision | None:
        """Takes note of an epoch, and says what follows from it."""
        ...

    def state(self) -> dict[str, Any]:
        """Returns all that the rule remembers, as JSON can hold it."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes back to what ``state`` returned."""
        ...


class AdaptivePlan:
    """Begins with one phase, and lets a rule begin others until the length is reached.

    Args:
        start: The first phase; its length is that of the whole training.
        rule: Decides after each epoch.
        num_examples: Examples in one pass over the training splits.
        steps_per_epoch: Steps in an epoch; ``None``: an epoch is one pass.
        policy: Name of the policy.
        needs_noise_scale: The rule needs the gradient noise scale.

    Raises:
        ConfigError: The batch holds more than the data.
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
        self._left = start.length.amount * self._unit_examples()
        """Examples until the end if the batch stays as it is."""

    @property
    def total_epochs(self) -> int | None:
        """Number of epochs; ``None`` where a change of batch changes it."""
        steps = self._schedule.steps_per_epoch
        per_epoch = {"ep": 1, "steps": steps, "ex": None if steps else self._num_examples}
        units = per_epoch[self._length.unit]
        return None if units is None else math.ceil(self._length.amount / units)

    def current_phase_epochs(self) -> list[EpochSpec]:
        """Returns the epochs before which nothing can change."""
        return list(itertools.islice(self._segments(), self._rule.fixed_epochs()))

    def remaining_epochs(self) -> list[EpochSpec] | None:
        """Returns all epochs to come; ``None`` as long as something can change."""
        return self.current_phase_epochs() if self._rule.fixed_epochs() is None else None

    def advance(self, feedback: EpochResult) -> list[PolicyDecision]:
        """Takes note of an epoch; see ``Plan``."""
        check_turn(next(self._segments(), None), feedback.spec)
        self._epoch += 1
        self._position += feedback.spec.examples
        self._left -= feedback.spec.examples
        verdict = self._rule.on_epoch_end(feedback)
        if isinstance(verdict, PolicyDecision):
            return [verdict]
        if verdict is None or not self._left:
            return []
        before = self._unit_examples()
        self._phase += 1
        self._rate, self._batch = verdict.learning_rate, verdict.batch_size
        self._left = self._left * self._unit_examples() // before
        return [PolicyDecision("phase", verdict.reason)]

    def state(self) -> dict[str, Any]:
        """Returns all that the plan and its rule remember."""
        return {
            "phase": self._phase,
            "epoch": self._epoch,
            "position": self._position,
            "learning_rate": self._rate,
            "batch_size": self._batch,
            "examples_left": self._left,
            "rule": self._rule.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes back to what ``state`` returned."""
        self._phase, self._epoch = state["phase"], state["epoch"]
        self._position, self._left = state["position"], state["examples_left"]
        self._rate, self._batch = state["learning_rate"], state["batch_size"]
        self._rule.restore(state["rule"])

    def _segments(self) -> Iterator[EpochSpec]:
        full = self._schedule.epoch_examples(self._batch, self._num_examples)
        for index, done in enumerate(range(0, self._left, full)):
            yield EpochSpec(
                phase=self._phase,
                epoch=self._epoch + index,
                learning_rate=self._rate,
                batch_size=self._batch,
                start=self._position + done,
                examples=min(full, self._left - done),
            )

    def _unit_examples(self) -> int:
        """Examples in one unit of the length."""
        full = self._schedule.epoch_examples(self._batch, self._num_examples)
        unit = dataclasses.replace(self._length, amount=1)
        return unit.in_examples(batch_size=self._batch, epoch_examples=full)
