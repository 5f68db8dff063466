"""Process groups: the communication between processes that run the same training loop."""

from collections.abc import Sequence
from typing import Protocol


class ProcessGroup(Protocol):
    """Processes that make the same decisions; the chief decides everything that depends on a clock.

    Args:
        is_chief: True if this process writes files, calls callbacks and decides.
        size: Number of processes.
    """

    is_chief: bool
    size: int

    def broadcast(self, values: Sequence[float]) -> list[float]:
        """Returns the chief's values.

        All processes call this method at the same point, with the same number of values.
        """
        ...


class SingleProcess:
    """A process group of size one; see ``ProcessGroup``."""

    is_chief = True
    size = 1

    def broadcast(self, values: Sequence[float]) -> list[float]:
        """Returns the values."""
        return list(values)
