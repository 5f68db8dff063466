"""Order of the examples, as a pure function of (seed, position).

The stream is unbounded: pass after pass over the data, each in a different order. Because any part
of the order can be computed independently, a resumed run needs only its position to continue with
the same examples.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from tfx_feeder.components.feeder_trainer.feed.sharding import FilePart


class Sampler(Protocol):
    """Maps positions of an unbounded stream to examples."""

    def indices(self, positions: range) -> np.ndarray:
        """Returns the indices of the examples at consecutive positions: int64 ``[positions]``."""
        ...


class ShuffleSampler:
    """Shuffles every pass over the data with a different permutation.

    Args:
        num_examples: Examples in one pass.
        seed: Seed of the permutations; equal seeds give equal streams.
        shuffle: If False, every pass keeps the order of the data.

    Example:
        >>> sampler = ShuffleSampler(num_examples=4, seed=0, shuffle=False)
        >>> sampler.indices(range(2, 7))
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
            positions: Range with step 1.

        Returns:
            int64 ``[len(positions)]``, each in ``[0, num_examples)``.
        """
        parts = []
        position = positions.start
        while position < positions.stop:
            index, offset = divmod(position, self.num_examples)
            count = min(self.num_examples - offset, positions.stop - position)
            parts.append(self._permutation_of(index)[offset : offset + count])
            position += count
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _permutation_of(self, index: int) -> np.ndarray:
        if self._shuffle and index != self._pass:
            generator = np.random.Generator(np.random.PCG64([self._seed, index]))
            self._permutation = generator.permutation(self.num_examples)
            self._pass = index
        return self._permutation


def batch_blocks(
    sampler: Sampler,
    epochs: Sequence[range],
    batch_size: int,
    part: FilePart,
    *,
    limit: int = 1 << 16,
) -> Iterator[np.ndarray]:
    """Splits epochs into batches and yields blocks of batches of equal size.

    Args:
        sampler: Order of the examples of the part.
        epochs: Positions of each epoch; no batch spans two epochs.
        batch_size: Examples in a batch; the last batch of an epoch may be smaller.
        part: Examples that this process provides.
        limit: Largest number of indices in a block.

    Yields:
        int64 ``[batches, examples]``, with this process's examples of each batch.
    """
    rows = max(1, limit // batch_size)
    for epoch in epochs:
        for first in range(epoch.start, epoch.stop, rows * batch_size):
            last = min(first + rows * batch_size, epoch.stop)
            borders = part.before(np.append(np.arange(first, last, batch_size), last))
            indices = sampler.indices(range(int(borders[0]), int(borders[-1])))
            sizes = np.diff(borders)
            changes = np.flatnonzero(np.diff(sizes)) + 1
            for begin, end in itertools.pairwise([0, *changes, len(sizes)]):
                start, stop = borders[[begin, end]] - borders[0]
                yield indices[start:stop].reshape(end - begin, sizes[begin])
