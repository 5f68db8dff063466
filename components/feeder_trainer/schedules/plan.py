"""Executable plans of a training: which epoch comes next, decided epoch by epoch.

The training loop asks for ``current_phase_epochs``, trains one epoch and passes its result to
``advance``. A plan is independent of the loop, the model and the data; ``state`` returns everything
it remembers.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec, Schedule


@dataclass(frozen=True, slots=True)
class EpochResult:
    """Result of a trained epoch.

    Args:
        spec: Specification of the epoch.
        learning_rate: Learning rate at the end of the epoch, including changes by Keras callbacks.
        metrics: Loss and metrics by name; validation metrics are named ``val_…``.
        input_bound: True if the training was input-bound.
        examples_per_s: Throughput of the epoch.
        noise_scale: Gradient noise scale in examples; ``None`` if it was not estimated.
    """

    spec: EpochSpec
    learning_rate: float
    metrics: Mapping[str, float]
    input_bound: bool = False
    examples_per_s: float = 0.0
    noise_scale: float | None = None


@dataclass(frozen=True, slots=True)
class PolicyDecision:
    """Decision of a policy, recorded in the training history.

    Args:
        kind: ``"phase"`` if the next epoch begins a phase, ``"unchanged"`` if a change was due but
            not made, ``"advice"`` if the policy only recommends a change.
        reason: One sentence with the figures behind the decision.
    """

    kind: Literal["phase", "unchanged", "advice"]
    reason: str


class Plan(Protocol):
    """Epochs of a training, decided while it runs."""

    @property
    def policy(self) -> str:
        """Name of the policy, such as ``"schedule"`` or ``"on_plateau"``."""
        ...

    @property
    def total_epochs(self) -> int | None:
        """Number of epochs of the whole training; ``None`` if it depends on decisions."""
        ...

    @property
    def needs_noise_scale(self) -> bool:
        """True if decisions require an estimate of the gradient noise scale."""
        ...

    def current_phase_epochs(self) -> list[EpochSpec]:
        """Returns the next epochs that are fixed: consecutive, in one phase; empty at the end."""
        ...

    def remaining_epochs(self) -> list[EpochSpec] | None:
        """Returns all remaining epochs, or ``None`` if they depend on decisions."""
        ...

    def advance(self, result: EpochResult) -> list[PolicyDecision]:
        """Records a finished epoch.

        Args:
            result: Result of the first of ``current_phase_epochs``.

        Returns:
            The decisions that follow from the result.

        Raises:
            ValueError: If a different epoch was due.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Returns the state of the plan as a JSON-serializable dict."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state`` returned."""
        ...


class StaticPlan:
    """Plan of a schedule, whose epochs are all known in advance.

    Args:
        schedule: Schedule to run.
        num_examples: Number of examples in one pass over the training splits.
        policy: Name of the policy that generated the schedule.

    Raises:
        ConfigError: If the schedule does not fit ``num_examples``.
    """

    needs_noise_scale = False

    def __init__(self, schedule: Schedule, num_examples: int, policy: str = "schedule") -> None:
        self.policy = policy
        self._epochs = list(schedule.epoch_specs(num_examples))
        self._done = 0

    @property
    def total_epochs(self) -> int:
        """Number of epochs of the whole training."""
        return len(self._epochs)

    def current_phase_epochs(self) -> list[EpochSpec]:
        """Returns the remaining epochs of the current phase."""
        remaining = self.remaining_epochs()
        return list(itertools.takewhile(lambda epoch: epoch.phase == remaining[0].phase, remaining))

    def remaining_epochs(self) -> list[EpochSpec]:
        """Returns all remaining epochs."""
        return self._epochs[self._done :]

    def advance(self, result: EpochResult) -> list[PolicyDecision]:
        """Records a finished epoch; see ``Plan``."""
        due, following = [*self._epochs[self._done : self._done + 2], None, None][:2]
        check_epoch_is_due(due, result.spec)
        self._done += 1
        if following is None or following.phase == result.spec.phase:
            return []
        phase, phases = following.phase + 1, self._epochs[-1].phase + 1
        return [
            PolicyDecision(
                "phase", f"phase {phase} of {phases}, due after {following.start} examples"
            )
        ]

    def state(self) -> dict[str, Any]:
        """Returns the number of finished epochs."""
        return {"epochs_done": self._done}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state`` returned."""
        self._done = state["epochs_done"]


def check_epoch_is_due(due: EpochSpec | None, finished: EpochSpec) -> None:
    """Checks that the finished epoch is the one the plan expects.

    Args:
        due: Expected epoch; ``None`` after the last one.
        finished: Epoch that was trained.

    Raises:
        ValueError: If the two differ.
    """
    if finished != due:
        raise ValueError(f"Expected {due or 'no further epoch'}, got {finished}.")
