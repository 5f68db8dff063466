"""Base class of policies, and the plan of a schedule or policy."""

import abc
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.schedules.length import Length
from tfx_feeder.components.feeder_trainer.schedules.plan import Plan, StaticPlan
from tfx_feeder.components.feeder_trainer.schedules.schedule import Phase, Schedule

if TYPE_CHECKING:
    from typing_extensions import Self  # In the standard library since Python 3.11.


@dataclass(frozen=True, slots=True)
class Policy(abc.ABC):
    """Rule that generates the phases of a training; a frozen value like ``Schedule``.

    A policy can be written as JSON, YAML or one line of text.
    """

    NAME: ClassVar[str]
    """Name of the policy in text, in JSON and in the training history."""
    TEXT_OPTIONS: ClassVar[Mapping[str, str]]
    """Field name of each option of the one-line notation."""

    @abc.abstractmethod
    def schedule(self, num_examples: int) -> Schedule:
        """Returns the phases that are known before training: all of them, or the first.

        Args:
            num_examples: Number of examples in one pass over the training splits.
        """

    def plan(self, num_examples: int) -> Plan:
        """Returns a new plan; by default, that of ``schedule``.

        Args:
            num_examples: Number of examples in one pass over the training splits.

        Raises:
            ConfigError: If the policy does not fit ``num_examples``.
        """
        return StaticPlan(self.schedule(num_examples), num_examples, self.NAME)

    def describe(self) -> str:
        """Returns a description of the decisions made during training; empty if there are none."""
        return ""

    def validate(self, num_examples: int, replicas: int = 1) -> None:
        """Checks that the known phases fit the data and the replicas.

        Args:
            num_examples: Number of examples in one pass over the training splits.
            replicas: Number of replicas that share a batch.

        Raises:
            ConfigError: If a batch exceeds the data or has less than one example per replica.
        """
        self.schedule(num_examples).validate(num_examples, replicas)

    def __str__(self) -> str:
        values = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return f"{self.NAME}: " + ", ".join(f"{n} {v}" for n, v in values if v is not None)

    def to_dict(self) -> dict[str, Any]:
        """Returns the policy as a JSON-serializable dict, the inverse of ``from_dict``."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {"policy": self.NAME} | {name: _to_plain(value) for name, value in values.items()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Self":
        """Returns the policy that ``to_dict`` serialized.

        Raises:
            ConfigError: If a key is unknown or missing, or a value is out of range.
        """
        given = {name: part for name, part in value.items() if name != "policy"}
        names, required = [field.name for field in dataclasses.fields(cls)], cls._required()
        if not set(required) <= set(given) <= set(names):
            raise ConfigError(
                cls.NAME,
                received=list(given),
                expected=f"{', '.join(required)}, and any of {', '.join(names)}",
            )
        return cls(**given)

    @classmethod
    def from_text(
        cls, start: Phase, options: Mapping[str, Any], steps_per_epoch: int | None
    ) -> "Self":
        """Returns the policy given by the parts of its one-line notation.

        Args:
            start: First phase.
            options: Option values, keyed by the names in ``TEXT_OPTIONS``.
            steps_per_epoch: Number of steps per epoch, or ``None``.

        Raises:
            ConfigError: If an option is missing or out of range.
        """
        for text_name, name in cls.TEXT_OPTIONS.items():
            if name in cls._required() and text_name not in options:
                raise ConfigError(cls.NAME, received=sorted(options), expected=f"{text_name}=…")
        named = {cls.TEXT_OPTIONS[name]: value for name, value in options.items()}
        return cls._from_parts(start, {**named, "steps_per_epoch": steps_per_epoch})

    @classmethod
    def _from_parts(cls, start: Phase, named: dict[str, Any]) -> "Self":
        return cls.from_dict({"start": start, **named})

    @classmethod
    def _required(cls) -> list[str]:
        fields = dataclasses.fields(cls)
        return [field.name for field in fields if field.default is dataclasses.MISSING]


def make_plan(schedule: Schedule | Policy, num_examples: int) -> Plan:
    """Returns a new plan of a schedule or policy.

    Args:
        schedule: Schedule, or policy that generates its phases.
        num_examples: Number of examples in one pass over the training splits.

    Raises:
        ConfigError: If the schedule does not fit ``num_examples``.

    Example:
        >>> plan = make_plan(Schedule.from_value("0.01:32x2, 0.005:64x1"), num_examples=1000)
        >>> [spec.epoch for spec in plan.current_phase_epochs()]
        [0, 1]
    """
    if isinstance(schedule, Schedule):
        return StaticPlan(schedule, num_examples)
    return schedule.plan(num_examples)


def _to_plain(value: Any) -> Any:
    if isinstance(value, Length):
        return str(value)
    return value.to_dict() if hasattr(value, "to_dict") else value
