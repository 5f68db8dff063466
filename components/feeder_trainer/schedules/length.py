"""Length of a training or phase in epochs, steps or examples."""

import re
from dataclasses import dataclass

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import is_integer

_UNITS = ("ep", "steps", "ex")
_TEXT = re.compile(rf"([0-9]{{1,18}})({'|'.join(_UNITS)})?")
MAX_EPOCHS = 100_000
"""Largest number of epochs of a training; each is an entry of the plan and of the history."""
_LARGEST = {"ep": MAX_EPOCHS, "steps": 10**12, "ex": 10**18}


@dataclass(frozen=True, slots=True)
class Length:
    """Amount of training with a unit.

    Args:
        amount: Number of units; 1 or more, and at most 100,000 epochs, 10^12 steps or 10^18
            examples.
        unit: ``"ep"`` (epochs), ``"steps"`` (full batches) or ``"ex"`` (examples).

    Raises:
        ConfigError: If the amount or the unit is out of range.

    Example:
        >>> str(Length.from_value("2000steps")), str(Length.from_value(10))
        ('2000steps', '10ep')
    """

    amount: int
    unit: str

    def __post_init__(self) -> None:
        if self.unit not in _UNITS:
            raise ConfigError(
                "length", received=self.unit, expected=f"one of the units {', '.join(_UNITS)}"
            )
        if not is_integer(self.amount) or self.amount < 1:
            raise ConfigError("length", received=self.amount, expected="an amount of 1 or more")
        if self.amount > _LARGEST[self.unit]:
            raise ConfigError(
                "length",
                received=self.amount,
                expected=f"at most {_LARGEST[self.unit]:,} {self.unit}",
            )

    @classmethod
    def from_value(cls, value: "Length | int | str") -> "Length":
        """Returns the length given by a ``Length``, its text, or a number of epochs.

        Raises:
            ConfigError: If the value is none of these.
        """
        if isinstance(value, Length):
            return value
        if is_integer(value):
            return cls(int(value), "ep")
        match = _TEXT.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ConfigError(
                "length",
                received=value,
                expected='a number of epochs, or text such as "10ep", "2000steps" or "50000ex"',
            )
        return cls(int(match[1]), match[2] or "ep")

    def in_examples(self, *, batch_size: int, epoch_examples: int) -> int:
        """Returns the length in examples.

        Args:
            batch_size: Global batch size in examples.
            epoch_examples: Number of examples in a full epoch.
        """
        return self.amount * {"ep": epoch_examples, "steps": batch_size, "ex": 1}[self.unit]

    def __str__(self) -> str:
        return f"{self.amount}{self.unit}"
