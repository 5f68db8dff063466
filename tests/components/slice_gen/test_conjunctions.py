"""Counts of conjunctions against a loop over all examples."""

import itertools
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_feeder.components.slice_gen import conjunctions
from tfx_feeder.components.slice_gen.conjunctions import (
    REST,
    ConjunctionCounts,
    ConjunctionIndex,
)

CARDINALITIES = (3, 2, 4, 3)
MIN_EXAMPLES = 5


def _table(seed: int, examples: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(0, cardinality, examples) for cardinality in CARDINALITIES])
    return codes, rng.choice([0.0, 0.0, 1.0, 0.5], examples)


def _counted(codes: np.ndarray, loss: np.ndarray) -> list[ConjunctionCounts]:
    short = ConjunctionCounts(ConjunctionIndex(CARDINALITIES))
    short.add(codes, loss)
    pairs = short.frequent_pairs(MIN_EXAMPLES)
    long = ConjunctionCounts(ConjunctionIndex(CARDINALITIES, pairs))
    long.add(codes, loss)
    return [short, long]


def _listed(all_counts: list[ConjunctionCounts]) -> dict[tuple, tuple[int, float]]:
    found = {}
    for counts in all_counts:
        for columns, of_cells in counts:
            cells = np.flatnonzero(of_cells.examples >= MIN_EXAMPLES)
            for values, cell in zip(counts.index.values(columns, cells), cells, strict=True):
                if (values != REST).all():
                    key = tuple(zip(columns, values.tolist(), strict=True))
                    found[key] = (int(of_cells.examples[cell]), round(of_cells.loss[cell], 6))
    return found


def _by_hand(codes: np.ndarray, loss: np.ndarray) -> dict[tuple, tuple[int, float]]:
    sums: dict[tuple, list[float]] = defaultdict(lambda: [0, 0.0])
    for example, of_example in zip(codes.T.tolist(), loss, strict=True):
        for length in (1, 2, 3):
            for columns in itertools.combinations(range(len(CARDINALITIES)), length):
                key = tuple((column, example[column]) for column in columns)
                sums[key][0] += 1
                sums[key][1] += of_example
    return {
        key: (int(examples), round(total, 6))
        for key, (examples, total) in sums.items()
        if examples >= MIN_EXAMPLES and all(value != REST for _, value in key)
    }


@given(seed=st.integers(0, 10_000), examples=st.integers(1, 300))
def test_every_frequent_conjunction_is_counted(seed: int, examples: int) -> None:
    codes, loss = _table(seed, examples)
    assert _listed(_counted(codes, loss)) == _by_hand(codes, loss)


def test_blocks_add_up_and_examples_can_be_subtracted(monkeypatch: pytest.MonkeyPatch) -> None:
    codes, loss = _table(1, 500)
    whole = _counted(codes, loss)
    monkeypatch.setattr(conjunctions, "_BLOCK", 64)
    in_blocks = _counted(codes, loss)
    merged = []
    for counts in whole:
        one, other = ConjunctionCounts(counts.index), ConjunctionCounts(counts.index)
        one.add(codes[:, :200], loss[:200])
        other.add(codes[:, 200:], loss[200:])
        one.merge(other)
        merged.append(one)

    assert _listed(in_blocks) == _listed(merged) == _listed(whole)
    assert [counts.examples for counts in merged] == [500, 500]

    for counts in whole:
        counts.add(codes[:, 300:], loss[300:], sign=-1)
        assert counts.examples == 300
    first = _by_hand(codes[:, :300], loss[:300])
    assert {key: value for key, value in _listed(whole).items() if key in first} == first
