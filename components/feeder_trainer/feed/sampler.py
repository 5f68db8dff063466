"""The order of examples: a pure function of (seed, position).

The feed is an endless stream: pass after pass over the data, each in an order of its own. Because
the order can be computed anywhere, a restarted training needs nothing but its position to go on
with the same examples.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np


class Sampler(Protocol):
    """Says which example stands at which position of an endless stream."""

    def indices(self, positions: range) -> np.ndarray:
        """Returns the indices of the examples at consecutive positions: int64 ``[positions]``."""
        ...


class ShuffleSampler:
    """Says which example stands at which position of the endless stream.

    Args:
        num_examples: Examples in one pass.
        seed: Two streams of the same seed are the same.
        shuffle: ``False`` keeps the order of the data in every pass.

    Example:
        >>> order = ShuffleSampler(num_examples=4, seed=0, shuffle=False)
        >>> order.indices(range(2, 7))
        array([2, 3, 0, 1, 2])
    """

    def __init__(self, num_examples: int, seed: int, *, shuffle: bool = True) -> None:
        self.num_examples = num_examples
        self._seed = seed
        self._shuffle = shuffle
        self._pass = -1
        self._permutation = np.arange(num_examples)

    def indices(self, positions: range) -> np.ndarray:
        """Returns the indices of the examples at consecutive positions.

        Args:
            positions: A range with step 1.

        Returns:
            int64 ``[len(positions)]``, each in ``[0, num_examples)``.
        """
        pieces = []
        position = positions.start
        while position < positions.stop:
            index, offset = divmod(position, self.num_examples)
            count = min(self.num_examples - offset, positions.stop - position)
            pieces.append(self._order_of(index)[offset : offset + count])
            position += count
        return np.concatenate(pieces) if pieces else np.empty(0, np.int64)

    def _order_of(self, index: int) -> np.ndarray:
        if self._shuffle and index != self._pass:
            generator = np.random.Generator(np.random.PCG64([self._seed, index]))
            self._permutation = generator.permutation(self.num_examples)
            self._pass = index
        return self._permutation


def batch_blocks(
    order: Sampler, epochs: Sequence[range], batch_size: int, *, limit: int = 1 << 16
) -> Iterator[np.ndarray]:
    """Cuts epochs into batches and yields them in blocks of equally large ones.

    Args:
        order: Which example stands where.
        epochs: Positions of each epoch; no batch reaches over an epoch's end.
        batch_size: Examples in a batch; the last one of an epoch may be smaller.
        limit: Largest number of indices in a block.

    Yields:
        int64 ``[batches, batch_size]``, or ``[1, rest]`` for a partial batch.
    """
    rows = max(1, limit // batch_size)
    for epoch in epochs:
        full = epoch.start + len(epoch) // batch_size * batch_size
        for first in range(epoch.start, full, rows * batch_size):
            block = range(first, min(first + rows * batch_size, full))
            yield order.indices(block).reshape(-1, batch_size)
        if full < epoch.stop:
            yield order.indices(range(full, epoch.stop)).reshape(1, -1)
