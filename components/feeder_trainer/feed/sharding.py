"""The part of a global batch that one of several members gets."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Shard:
    """One of ``count`` consecutive parts, as equal as whole examples allow.

    Args:
        index: Which part, from 0.
        count: Number of parts.

    Example:
        >>> [Shard(index, 3).bounds(4) for index in range(3)]
        [(0, 1), (1, 2), (2, 4)]
    """

    index: int = 0
    count: int = 1

    def bounds(self, size: Any) -> tuple[Any, Any]:
        """Returns first row and end of the part; it is empty where members outnumber the rows.

        Args:
            size: Rows in all; an integer or an integer tensor.
        """
        return size * self.index // self.count, size * (self.index + 1) // self.count

    def of(self, rows: Any) -> Any:
        """Returns the part of a tensor ``[batch, ...]``."""
        if self.count == 1:
            return rows
        # Imported here, so that planning needs no TensorFlow.
        import tensorflow as tf

        start, stop = self.bounds(tf.shape(rows)[0])
        return rows[start:stop]
