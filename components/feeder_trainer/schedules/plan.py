"""What to train next: a schedule or a policy, asked epoch by epoch.

The training loop asks ``upcoming``, trains an epoch, and tells ``advance`` what it showed. A plan
does not know the loop, the model or the data; all that it remembers is in ``state``.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec, Schedule


@dataclass(frozen=True, slots=True)
class EpochResult:
    """What an epoch showed.

    Args:
        spec: The epoch.
        learning_rate: In force at its end; a Keras callback may have changed it.
        metrics: Loss and metrics by name, those of the validation as ``val_…``.
        input_bound: The step waited for its input too much.
        noise_scale: Gradient noise scale in examples; ``None`` where it was not estimated.
    """

    spec: EpochSpec
    learning_rate: float
    metrics: Mapping[str, float]
    input_bound: bool = False
    noise_scale: float | None = None


@dataclass(frozen=True, slots=True)
class PolicyDecision:
    """Why a phase begins, or why it does not.

    Args:
        kind: ``"phase"``: the next epoch begins a phase. ``"kept"``: it would have, but for the
            reason given. ``"advice"``: the user may want to change something.
        reason: One sentence with the figures that led to it.
    """

    kind: Literal["phase", "kept", "advice"]
    reason: str


class Plan(Protocol):
    """The epochs of a training, decided as it goes."""

    @property
    def policy(self) -> str:
        """Name of the policy in force: ``"schedule"``, ``"on_plateau"`` and so on."""
        ...

    @property
    def total_epochs(self) -> int | None:
        """Number of epochs of the whole training; ``None`` where it depends on decisions."""
        ...

    @property
    def needs_noise_scale(self) -> bool:
        """Whether decisions need an estimate of the gradient noise scale."""
        ...

    def current_phase_epochs(self) -> list[EpochSpec]:
        """Returns the next epochs that are certain: consecutive, in one phase; empty at the end."""
        ...

    def remaining_epochs(self) -> list[EpochSpec] | None:
        """Returns all epochs to come; ``None`` where they depend on decisions."""
        ...

    def advance(self, feedback: EpochResult) -> list[PolicyDecision]:
        """Takes note of an epoch that is done.

        Args:
            feedback: What the first of the ``upcoming`` epochs showed.

        Returns:
            What was decided.

        Raises:
            ValueError: Another epoch was due.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Returns all that the plan remembers, as JSON can hold it."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes back to what ``state`` returned."""
        ...


class StaticPlan:
    """The epochs of a schedule, known from the start.

    Args:
        schedule: The phases.
        num_examples: Examples in one pass over the training splits.
        policy: Name of the rule that made the phases.

    Raises:
        ConfigError: The schedule does not fit ``num_examples``.
    """

    needs_noise_scale = False

    def __init__(self, schedule: Schedule, num_examples: int, policy: str = "schedule") -> None:
        self.policy = policy
        self._segments = list(schedule.epoch_specs(num_examples))
        self._done = 0

    @property
    def total_epochs(self) -> int:
        """Number of epochs of the whole training."""
        return len(self._segments)

    def current_phase_epochs(self) -> list[EpochSpec]:
        """Returns what is left of the current phase."""
        left = self.remaining_epochs()
        return list(itertools.takewhile(lambda segment: segment.phase == left[0].phase, left))

    def remaining_epochs(self) -> list[EpochSpec]:
        """Returns all that is left."""
        return self._segments[self._done :]

    def advance(self, feedback: EpochResult) -> list[PolicyDecision]:
        """Takes note of an epoch; see ``Plan``."""
        due, following = [*self._segments[self._done : self._done + 2], None, None][:2]
        check_turn(due, feedback.spec)
        self._done += 1
        if following is None or following.phase == feedback.spec.phase:
            return []
        phase, phases = following.phase + 1, self._segments[-1].phase + 1
        return [
            PolicyDecision(
                "phase", f"phase {phase} of {phases}, due after {following.start} examples"
            )
        ]

    def state(self) -> dict[str, Any]:
        """Returns the number of epochs done."""
        return {"epochs_done": self._done}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes back to what ``state`` returned."""
        self._done = state["epochs_done"]


def check_turn(due: EpochSpec | None, segment: EpochSpec) -> None:
    """Raises a ``ValueError`` unless ``segment`` is the one that is ``due``."""
    if segment != due:
        raise ValueError(f"{segment} is done, but due was {due or 'none: it is the end'}")
