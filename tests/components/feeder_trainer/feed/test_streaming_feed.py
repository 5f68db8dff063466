"""Batches of epochs are cut from one stream wherever that is possible."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_feeder.components.feeder_trainer.feed import streaming_feed
from tfx_feeder.components.feeder_trainer.feed.base import batch_sizes
from tfx_feeder.components.feeder_trainer.feed.streaming_feed import plan_cuts


def _expanded(epochs: list[range], batch_size: int) -> list[tuple[int, int]]:
    """Returns first position and size of each batch of the planned cuts."""
    batches = []
    for cuts in plan_cuts(epochs, batch_size):
        position, number, left = cuts.start, 0, cuts.num_batches
        while left:
            size, kept = (column[number % len(cuts.sizes)] for column in (cuts.sizes, cuts.kept))
            if kept:
                batches.append((position, int(size)))
                left -= 1
            position, number = position + int(size), number + 1
    return batches


@settings(deadline=None)
@given(
    length=st.integers(1, 50),
    gap=st.integers(0, 5),
    count=st.integers(1, 6),
    batch_size=st.integers(1, 20),
    done=st.integers(0, 3),
    other=st.integers(0, 9),
    limit=st.sampled_from([2, 5, 1000]),
)
def test_cuts_are_the_batches_of_the_epochs(length, gap, count, batch_size, done, other, limit):
    starts = [7 + index * (length + gap) for index in range(count)]
    epochs = [range(start, start + length) for start in starts]
    epochs.append(range(epochs[-1].stop + gap, epochs[-1].stop + gap + length + other))
    epochs[0] = epochs[0][min(done * batch_size, length - 1) :]
    expected = []
    for epoch in epochs:
        sizes = batch_sizes(len(epoch), batch_size)
        firsts = epoch.start + np.cumsum([0, *sizes[:-1]])
        expected += list(zip(firsts.tolist(), sizes, strict=True))
    original, streaming_feed._MAX_SIZES = streaming_feed._MAX_SIZES, limit
    try:
        assert _expanded(epochs, batch_size) == expected
    finally:
        streaming_feed._MAX_SIZES = original


@pytest.mark.parametrize("length", [100, 96])
def test_epochs_with_a_partial_batch_are_one_stream(length):
    epochs = [range(index * 100, index * 100 + length) for index in range(50)]
    epochs[0] = epochs[0][32:]
    assert len(plan_cuts(epochs, 32)) == 1
