"""Training schedule: phases of learning rate, global batch size and length.

A schedule is a pure function of progress. Progress is counted in examples rather than batches, so a
position keeps its meaning when the batch size changes.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import is_integer
from tfx_feeder.components.feeder_trainer.schedules.grammar import parse_schedule_text
from tfx_feeder.components.feeder_trainer.schedules.length import MAX_EPOCHS, Length

_LARGEST_BATCH = 10**9
_LARGEST_STEPS = 10**9


@dataclass(frozen=True, slots=True)
class Phase:
    """Part of a training with one learning rate and one global batch size.

    Args:
        learning_rate: Learning rate assigned to the optimizer at the start of the phase; above 0.
        batch_size: Global batch size in examples; 1 to 10^9.
        length: Length of the phase: a ``Length``, its text (``"10ep"``, ``"2000steps"``,
            ``"50000ex"``), or a number of epochs.

    Raises:
        ConfigError: If a value is out of range.
    """

    learning_rate: float
    batch_size: int
    length: Length

    def __post_init__(self) -> None:
        rate, batch = self.learning_rate, self.batch_size
        if not _is_number(rate) or not (0 < rate < math.inf):
            raise ConfigError("learning_rate", received=rate, expected="a number above 0")
        if not is_integer(batch) or not 1 <= batch <= _LARGEST_BATCH:
            raise ConfigError(
                "batch_size", received=batch, expected="an integer of 1 or more, at most 10^9"
            )
        object.__setattr__(self, "learning_rate", float(rate))
        object.__setattr__(self, "batch_size", int(batch))
        object.__setattr__(self, "length", Length.from_value(self.length))

    @classmethod
    def from_value(cls, value: Any) -> "Phase":
        """Returns the phase given by a ``Phase``, a tuple of its fields, or a mapping.

        Raises:
            ConfigError: If the value is none of these or is out of range.
        """
        if isinstance(value, Phase):
            return value
        if isinstance(value, Mapping):
            if set(value) != {"learning_rate", "batch_size", "length"}:
                raise ConfigError(
                    "schedule phase",
                    received=dict(value),
                    expected="the keys learning_rate, batch_size and length",
                )
            return cls(**value)
        if isinstance(value, Iterable) and not isinstance(value, str):
            parts = tuple(value)
            if len(parts) == 3:
                return cls(*parts)
        raise ConfigError(
            "schedule phase", received=value, expected="(learning_rate, batch_size, epochs)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the phase as a JSON-serializable dict, the inverse of ``from_value``."""
        return {
            "learning_rate": self.learning_rate,
            "batch_size": self.batch_size,
            "length": str(self.length),
        }

    def __str__(self) -> str:
        return f"{self.learning_rate!r}:{self.batch_size}x{self.length}"


@dataclass(frozen=True, slots=True)
class EpochSpec:
    """Specification of one epoch.

    Args:
        phase: Index of the phase, from 0.
        epoch: Index of the epoch in the whole training, from 0.
        learning_rate: Learning rate at the start of the phase.
        batch_size: Global batch size in examples.
        start: Position of the first example in the unbounded stream of examples.
        examples: Number of examples in this epoch; the last batch may be partial.
    """

    phase: int
    epoch: int
    learning_rate: float
    batch_size: int
    start: int
    examples: int

    @property
    def stop(self) -> int:
        """Position after the last example."""
        return self.start + self.examples

    @property
    def steps(self) -> int:
        """Number of batches, including a partial one."""
        return math.ceil(self.examples / self.batch_size)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Phases in training order.

    Args:
        phases: One or more phases, each a ``Phase`` or ``(learning_rate, batch_size, length)``.
        steps_per_epoch: Number of steps per epoch, in every phase. If ``None``, an epoch is one
            pass over the training examples, with a partial last batch if they do not divide evenly.

    Raises:
        ConfigError: If there is no phase or a value is out of range.

    Example:
        >>> schedule = Schedule([(0.01, 32, 10), (0.005, 64, 10)], steps_per_epoch=200)
        >>> str(schedule)
        '0.01:32x10ep, 0.005:64x10ep @200'
        >>> sum(epoch.steps for epoch in schedule.epoch_specs(num_examples=50_000))
        4000
    """

    phases: Sequence[Phase]
    steps_per_epoch: int | None = None

    def __post_init__(self) -> None:
        phases = tuple(Phase.from_value(phase) for phase in self.phases)
        if not phases:
            raise ConfigError("schedule", received=[], expected="at least one phase")
        check_steps_per_epoch(self.steps_per_epoch)
        object.__setattr__(self, "phases", phases)

    @classmethod
    def from_value(cls, value: Any) -> "Schedule":
        """Returns the schedule given in any supported notation.

        Args:
            value: ``Schedule``; list of ``(learning_rate, batch_size, length)``; text such as
                ``"0.01:32x10, 0.005:64x2000steps @200"`` (see ``grammar.py``); or the mapping that
                ``to_dict`` returns, optionally as JSON.

        Raises:
            ConfigError: If the value is none of these or is out of range.
        """
        if isinstance(value, str):
            if value.lstrip().startswith("{"):
                value = _from_json(value)
            else:
                parsed = parse_schedule_text(value)
                return cls(
                    [Phase.from_value(phase) for phase in parsed.phases], parsed.steps_per_epoch
                )
        if isinstance(value, Schedule):
            return value
        if isinstance(value, Mapping):
            return _from_dict(value)
        if isinstance(value, Sequence):
            return cls(tuple(value))
        raise ConfigError(
            "schedule",
            received=value,
            expected="a Schedule, a list of (learning_rate, batch_size, epochs), or text",
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the schedule as a JSON-serializable dict, the inverse of ``from_value``."""
        phases = [phase.to_dict() for phase in self.phases]
        return {"phases": phases, "steps_per_epoch": self.steps_per_epoch}

    def __str__(self) -> str:
        text = ", ".join(str(phase) for phase in self.phases)
        return text if self.steps_per_epoch is None else f"{text} @{self.steps_per_epoch}"

    def epoch_examples(self, batch_size: int, num_examples: int) -> int:
        """Returns the number of examples in a full epoch.

        Args:
            batch_size: Global batch size in examples.
            num_examples: Number of examples in one pass over the training splits.
        """
        return num_examples if self.steps_per_epoch is None else self.steps_per_epoch * batch_size

    def epoch_specs(self, num_examples: int) -> Iterator[EpochSpec]:
        """Yields every epoch of every phase, in order.

        Args:
            num_examples: Number of examples in one pass over the training splits.

        Raises:
            ConfigError: If the schedule does not fit ``num_examples``.
        """
        self.validate(num_examples)
        epoch = position = 0
        for index, phase in enumerate(self.phases):
            full = self.epoch_examples(phase.batch_size, num_examples)
            left = phase.length.in_examples(batch_size=phase.batch_size, epoch_examples=full)
            while left > 0:
                examples = min(full, left)
                yield EpochSpec(
                    index, epoch, phase.learning_rate, phase.batch_size, position, examples
                )
                epoch, position, left = epoch + 1, position + examples, left - examples

    def validate(self, num_examples: int, replicas: int = 1) -> None:
        """Checks that the phases fit the data and the replicas.

        Args:
            num_examples: Number of examples in one pass over the training splits.
            replicas: Number of replicas that share a batch.

        Raises:
            ConfigError: If a batch exceeds the data or has less than one example per replica, or if
                there are too many epochs.
        """
        self._check_epochs(num_examples)
        for index, phase in enumerate(self.phases):
            name = f"schedule phase {index + 1} ({phase}): batch_size"
            if phase.batch_size > num_examples:
                raise ConfigError(
                    name,
                    received=phase.batch_size,
                    expected=f"at most the {num_examples} examples of the training splits",
                    fix="Lower the batch size or add data.",
                )
            if phase.batch_size < replicas:
                raise ConfigError(
                    name,
                    received=phase.batch_size,
                    expected=f"at least one example for each of {replicas} replicas",
                    fix="Raise the batch size or use fewer devices.",
                )

    def _check_epochs(self, num_examples: int) -> None:
        epochs = 0
        for phase in self.phases:
            full = max(1, self.epoch_examples(phase.batch_size, num_examples))
            length = phase.length.in_examples(batch_size=phase.batch_size, epoch_examples=full)
            epochs += math.ceil(length / full)
        if epochs > MAX_EPOCHS:
            raise ConfigError(
                "schedule",
                received=str(self),
                expected=f"at most {MAX_EPOCHS:,} epochs",
                fix=f"These are {epochs:.3g}. Set or raise the steps per epoch.",
            )


def check_steps_per_epoch(steps: Any) -> None:
    """Checks that ``steps`` is an integer of 1 or more, at most 10^9, or ``None``.

    Raises:
        ConfigError: If it is not.
    """
    if steps is not None and (not is_integer(steps) or not 1 <= steps <= _LARGEST_STEPS):
        raise ConfigError(
            "steps_per_epoch",
            received=steps,
            expected="an integer of 1 or more, or None, and at most 10^9",
        )


def _from_dict(value: Mapping[str, Any]) -> Schedule:
    unknown = set(value) - {"phases", "steps_per_epoch"}
    if unknown or "phases" not in value:
        raise ConfigError(
            "schedule", received=list(value), expected="the keys phases and steps_per_epoch"
        )
    if isinstance(value["phases"], str) or not isinstance(value["phases"], Iterable):
        raise ConfigError("schedule", received=value["phases"], expected="a list of phases")
    return Schedule(tuple(value["phases"]), value.get("steps_per_epoch"))


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            "schedule", received=text, expected="JSON as written by to_dict", fix=f"{error}."
        ) from error


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (is_integer(value) and value.bit_length() < 1024)
