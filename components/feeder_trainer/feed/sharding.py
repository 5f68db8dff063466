"""Division of the examples among processes: by the rows of each batch, or by the files."""

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


@dataclass(frozen=True, slots=True)
class FilePart:
    """Part of the examples that a process reads if no other process reads it.

    The examples are divided in the order of the files. Of ``count`` consecutive positions in a
    pass, each process provides one, so every process provides its part once in each pass, and an
    equal share of each batch up to one example.

    Args:
        shard: Process among all processes.
        num_examples: Examples of all processes in one pass.

    Example:
        >>> part = FilePart(Shard(1, 2), num_examples=5)
        >>> part.records, [part.before(position) for position in range(8)]
        (range(3, 5), [0, 0, 1, 1, 2, 2, 2, 3])
    """

    shard: Shard
    num_examples: int

    @property
    def name(self) -> str:
        """Name of the division, as a part of ``Feed.order``; empty for a single process."""
        return "" if self.shard.count == 1 else f"files of {self.shard.count}"

    @property
    def records(self) -> range:
        """Indices of the part's examples in the order of the files."""
        each, rest = divmod(self.num_examples, self.shard.count)
        index = self.shard.index
        first = index * each + min(index, rest)
        return range(first, first + each + (index < rest))

    def before(self, position: Any) -> Any:
        """Returns how many examples the process provides before a position of the stream.

        Args:
            position: Position in examples; an integer, or an integer array or tensor.
        """
        shard, total = self.shard, self.num_examples
        in_pass = (position % total - shard.index + shard.count - 1) // shard.count
        return position // total * len(self.records) + in_pass
