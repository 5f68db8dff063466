"""Shards of a global batch."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Shard:
    """One of ``count`` consecutive parts of a batch, equal in size up to rounding.

    Args:
        index: Index of the shard, from 0.
        count: Number of shards.

    Example:
        >>> [Shard(index, 3).bounds(4) for index in range(3)]
        [(0, 1), (1, 2), (2, 4)]
    """

    index: int = 0
    count: int = 1

    def bounds(self, size: Any) -> tuple[Any, Any]:
        """Returns the first row of the shard and the end of the shard, exclusive.

        A shard is empty if there are more shards than rows.

        Args:
            size: Rows in the batch; an integer or an integer tensor.
        """
        return size * self.index // self.count, size * (self.index + 1) // self.count

    def slice(self, rows: Any) -> Any:
        """Returns the rows of the shard from a tensor ``[batch, ...]``."""
        if self.count == 1:
            return rows
        # Imported here so that planning needs no TensorFlow.
        import tensorflow as tf

        start, stop = self.bounds(tf.shape(rows)[0])
        return rows[start:stop]


NO_SHARDING = Shard()
"""The whole batch."""
