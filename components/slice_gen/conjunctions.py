"""Numbers of examples and their losses in every conjunction of up to three feature values.

A conjunction of columns is a table with one cell for each combination of values, and one
``bincount`` fills it. Rows are counted in blocks, so that memory depends on the number of cells
only; counts of blocks add up, and those of removed examples can be subtracted.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

REST = 0
"""Code of all values that are too rare to be a slice."""
_BLOCK = 32_768
"""Examples counted at once; a column of codes fits into the cache of a core."""

Columns = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CellCounts:
    """Examples and losses of each combination of values of some columns.

    Args:
        examples: Number of examples, int64 ``[cells]``.
        loss: Sum of their losses, float64 ``[cells]``.
    """

    examples: np.ndarray
    loss: np.ndarray


class ConjunctionIndex:
    """Cells of all conjunctions of columns.

    A conjunction of three columns extends one of two: only pairs of values that are frequent enough
    have cells of their own, so that the number of cells is bounded by the number of frequent pairs
    times the values of one column, whatever the cardinalities.

    Args:
        cardinalities: Number of codes of each column, ``REST`` among them.
        pairs: Frequent cells of each pair of columns, int64 ``[frequent]``, from which conjunctions
            of three are built; without them, conjunctions of one and two are counted.
    """

    def __init__(
        self, cardinalities: Sequence[int], pairs: Mapping[Columns, np.ndarray] | None = None
    ) -> None:
        self.cardinalities = tuple(cardinalities)
        self._pairs = pairs
        self._ranks: dict[Columns, np.ndarray] = {}
        for columns, cells in (pairs or {}).items():
            rank = np.zeros(self._cells_of_pair(columns), np.int64)
            rank[cells] = np.arange(1, len(cells) + 1)
            self._ranks[columns] = rank

    def _cells_of_pair(self, columns: Columns) -> int:
        first, second = columns
        return self.cardinalities[first] * self.cardinalities[second]

    def keys(self, codes: np.ndarray) -> Iterator[tuple[Columns, np.ndarray, int]]:
        """Yields columns, the cell of each example, and the number of cells.

        The array of cells is reused for the next columns.

        Args:
            codes: Codes, int64 ``[columns, examples]``.
        """
        number = len(self.cardinalities)
        if self._pairs is None:
            for column in range(number):
                yield (column,), codes[column], self.cardinalities[column]
            for columns in itertools.combinations(range(number), 2):
                yield columns, self._pair_keys(codes, columns), self._cells_of_pair(columns)
            return
        buffer = np.empty(codes.shape[1], np.int64)
        for columns, rank in self._ranks.items():
            ranks = rank[self._pair_keys(codes, columns)]
            for third in range(columns[1] + 1, number):
                cardinality = self.cardinalities[third]
                np.multiply(ranks, cardinality, out=buffer)
                buffer += codes[third]
                yield (*columns, third), buffer, (len(self._pairs[columns]) + 1) * cardinality

    def _pair_keys(self, codes: np.ndarray, columns: Columns) -> np.ndarray:
        first, second = columns
        return codes[first] * self.cardinalities[second] + codes[second]

    def values(self, columns: Columns, cells: np.ndarray) -> np.ndarray:
        """Returns the codes of cells, int64 ``[cells, columns]``.

        Args:
            columns: Columns of the conjunction.
            cells: Cells, int64 ``[cells]``.
        """
        if len(columns) == 1:
            return cells[:, None]
        rest, last = np.divmod(cells, self.cardinalities[columns[-1]])
        if len(columns) == 3:
            pair = columns[:2]
            frequent = np.concatenate([[REST], (self._pairs or {})[pair]])
            return np.column_stack([self.values(pair, frequent[rest]), last])
        return np.column_stack([rest, last])


class ConjunctionCounts:
    """Counts of all cells of an index.

    Args:
        index: Cells to count.
    """

    def __init__(self, index: ConjunctionIndex) -> None:
        self.index = index
        self.examples = 0
        self.loss = 0.0
        self._cells: dict[Columns, CellCounts] = {}

    def __iter__(self) -> Iterator[tuple[Columns, CellCounts]]:
        return iter(self._cells.items())

    def __getitem__(self, columns: Columns) -> CellCounts:
        return self._cells[columns]

    def add(self, codes: np.ndarray, loss: np.ndarray, *, sign: int = 1) -> None:
        """Adds examples.

        Args:
            codes: Codes, integer ``[columns, examples]``.
            loss: Loss of each example, ``[examples]``; zeros cost no time.
            sign: -1 to subtract examples that were added before.
        """
        # Examples without a loss come last, so that the others are a slice without a copy.
        for start in range(0, len(loss), _BLOCK):
            block = slice(start, start + _BLOCK)
            order = np.argsort(loss[block] == 0, kind="stable")
            losses = loss[block][order]
            self._add_block(
                np.take(codes[:, block], order, axis=1).astype(np.int64, copy=False),
                losses[: np.count_nonzero(losses)],
                sign,
            )
            self.examples += sign * len(losses)
            self.loss += sign * float(losses.sum())

    def _add_block(self, codes: np.ndarray, losses: np.ndarray, sign: int) -> None:
        all_ones = bool((losses == 1).all())
        for columns, keys, cells in self.index.keys(codes):
            examples = np.bincount(keys, minlength=cells)
            with_loss = keys[: len(losses)]
            # Without weights, bincount is about twice as fast.
            weights = None if all_ones else losses
            loss = np.bincount(with_loss, weights=weights, minlength=cells)
            if columns not in self._cells:
                self._cells[columns] = CellCounts(np.zeros(cells, np.int64), np.zeros(cells))
            counts = self._cells[columns]
            np.add(counts.examples, sign * examples, out=counts.examples)
            np.add(counts.loss, sign * loss, out=counts.loss)

    def merge(self, other: "ConjunctionCounts") -> None:
        """Adds the counts of other examples over the same index."""
        self.examples += other.examples
        self.loss += other.loss
        for columns, counts in other:
            if columns in self._cells:
                own = self._cells[columns]
                counts = CellCounts(own.examples + counts.examples, own.loss + counts.loss)
            self._cells[columns] = counts

    def frequent_pairs(self, min_examples: int) -> dict[Columns, np.ndarray]:
        """Returns the cells of pairs that hold enough examples and no rare value.

        Args:
            min_examples: Smallest number of examples.
        """
        pairs = {}
        for columns, counts in self:
            if len(columns) == 2:
                cells = np.flatnonzero(counts.examples >= min_examples)
                values = self.index.values(columns, cells)
                pairs[columns] = cells[(values != REST).all(axis=1)]
        return pairs
