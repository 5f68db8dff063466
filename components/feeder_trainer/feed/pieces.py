"""Cutting a stretch of positions into pieces of files, the unit that workers take turns at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class FileShard:
    """Consecutive records of one file.

    Args:
        file: Index of the file.
        skip: Records before the piece.
        take: Records in the piece.
        position: Of its first record in the endless stream.
    """

    file: int
    skip: int
    take: int
    position: int


def plan_file_shards(
    counts: Sequence[int], positions: range, seed: int, *, shuffle: bool, count: int
) -> list[FileShard]:
    """Says which records stand at some positions of an endless stream, file after file.

    Args:
        counts: Records in each file.
        positions: A range with step 1.
        seed: Derives the order of the files in each pass.
        shuffle: ``False`` keeps the order of the files.
        count: Cut into about so many pieces, for as many workers to have something to do.

    Returns:
        Pieces that hold each position once, in ascending order.
    """
    total = sum(counts)
    largest = max(1, -(-len(positions) // count))
    pieces = []
    for index in range(positions.start // total, -(-positions.stop // total)):
        order = np.arange(len(counts))
        if shuffle:
            order = np.random.Generator(np.random.PCG64([seed, index])).permutation(order)
        first = index * total
        for file in order.tolist():
            start = max(first, positions.start)
            stop = min(first + counts[file], positions.stop)
            for position in range(start, stop, largest):
                take = min(largest, stop - position)
                pieces.append(FileShard(file, position - first, take, position))
            first += counts[file]
    return pieces
