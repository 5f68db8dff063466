"""The processes that run the same training loop side by side."""

from collections.abc import Sequence
from typing import Protocol


class ProcessGroup(Protocol):
    """Members of a team decide alike: whatever depends on a clock, the chief decides for all.

    Args:
        is_chief: This process writes files, calls callbacks and decides.
        size: Number of processes.
    """

    is_chief: bool
    size: int

    def broadcast(self, values: Sequence[float]) -> list[float]:
        """Returns the chief's values.

        Every member calls it at the same point, with as many values.
        """
        ...


class SingleProcess:
    """A team of one; see ``ProcessGroup``."""

    is_chief = True
    size = 1

    def broadcast(self, values: Sequence[float]) -> list[float]:
        """Returns the values."""
        return list(values)
