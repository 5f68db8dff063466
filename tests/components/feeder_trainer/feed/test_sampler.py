"""The order of examples: each once a pass, and a pure function of seed and position."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_feeder.components.feeder_trainer.feed.sampler import ShuffleSampler, batch_blocks
from tfx_feeder.components.feeder_trainer.feed.sharding import NO_SHARDING, FilePart

sizes = st.integers(1, 40)
seeds = st.integers(0, 2**63 - 1)


@given(sizes, seeds, st.booleans(), st.lists(st.integers(0, 150), min_size=3, max_size=3))
def test_parts_join_to_the_whole_from_any_position(
    size: int, seed: int, shuffle: bool, cuts: list[int]
) -> None:
    a, b, c = sorted(cuts)
    whole = ShuffleSampler(size, seed, shuffle=shuffle).indices(range(a, c))
    sampler = ShuffleSampler(size, seed, shuffle=shuffle)

    # The later part first: results must not depend on earlier calls.
    later, earlier = sampler.indices(range(b, c)), sampler.indices(range(a, b))

    np.testing.assert_array_equal(np.concatenate([earlier, later]), whole)


@given(sizes, seeds, st.booleans(), st.integers(0, 10))
def test_each_pass_holds_each_example_once(size: int, seed: int, shuffle: bool, index: int) -> None:
    sampler = ShuffleSampler(size, seed, shuffle=shuffle)

    indices = sampler.indices(range(index * size, (index + 1) * size))

    assert indices.dtype == np.int64
    np.testing.assert_array_equal(np.sort(indices), np.arange(size))


def test_passes_and_seeds_differ() -> None:
    def one_pass(seed: int, index: int) -> list[int]:
        return ShuffleSampler(50, seed).indices(range(index * 50, (index + 1) * 50)).tolist()

    orders = [one_pass(seed, index) for seed in range(3) for index in range(3)]

    assert all(a != b for a, b in pairwise(sorted(orders)))
    assert list(range(50)) not in orders


def test_unshuffled_passes_keep_the_order() -> None:
    sampler = ShuffleSampler(4, 0, shuffle=False)

    assert sampler.indices(range(2, 11)).tolist() == [2, 3, 0, 1, 2, 3, 0, 1, 2]


@given(
    sizes,
    st.integers(1, 50),
    st.lists(st.integers(1, 90), min_size=1, max_size=5),
    st.integers(1, 100),
)
def test_blocks_cut_each_epoch_into_its_batches(
    size: int, batch_size: int, epoch_sizes: list[int], limit: int
) -> None:
    stops = np.cumsum(epoch_sizes).tolist()
    epochs = [range(stop - count, stop) for stop, count in zip(stops, epoch_sizes, strict=True)]
    sampler = ShuffleSampler(size, seed=7)

    blocks = list(
        batch_blocks(sampler, epochs, batch_size, FilePart(NO_SHARDING, size), limit=limit)
    )

    batches = [batch for block in blocks for batch in block]
    expected = [
        sampler.indices(range(first, min(first + batch_size, epoch.stop)))
        for epoch in epochs
        for first in range(epoch.start, epoch.stop, batch_size)
    ]
    assert [batch.tolist() for batch in batches] == [batch.tolist() for batch in expected]
    assert all(block.size <= max(limit, batch_size) for block in blocks)


@pytest.mark.parametrize("batch_size", [1, 7, 32, 100])
def test_epochs_of_one_pass_use_each_example_once(batch_size: int) -> None:
    epochs = [range(start, start + 100) for start in (0, 100, 200)]
    part = FilePart(NO_SHARDING, 100)
    blocks = batch_blocks(ShuffleSampler(100, seed=1), epochs, batch_size, part)

    seen = np.concatenate([block.ravel() for block in blocks])

    for epoch in seen.reshape(3, 100):
        assert sorted(epoch) == list(range(100))
