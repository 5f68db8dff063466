"""A mixture keeps its proportions everywhere, loses nothing, and can be opened anywhere."""

from collections import Counter

import numpy as np
import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.feed import open_feed
from tfx_feeder.components.feeder_trainer.feed.mixture import (
    MIXTURE_PERIOD,
    MixtureSampler,
    SplitFiles,
    group_by_source,
    quantize_weights,
)
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, from_json, to_json
from tfx_feeder.components.feeder_trainer.feed.sampler import ShuffleSampler

MIX = {"span:newest": 0.7, "span:others": 0.3}


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (MIX, {"span:newest": 70, "span:others": 30}),
        ({"a": 1, "b": 1, "c": 1}, {"a": 34, "b": 33, "c": 33}),
        ({"a": 198, "b": 2}, {"a": 99, "b": 1}),
        ({"a": 5}, {"a": 100}),
    ],
)
def test_weights_become_whole_examples_of_a_hundred(weights, expected):
    assert quantize_weights(weights) == expected


@pytest.mark.parametrize(
    "mix",
    [
        {"train": 0},
        {"train": -1},
        {"train": "much"},
        {"train": float("nan")},
        {"span:newest": 1000, "span:others": 1},
        {"span:latest": 1},
        {"train": 1, "span:1": 1},
        {"eval": 1},
    ],
)
def test_a_mixture_that_cannot_be_is_refused_when_it_is_declared(mix):
    with pytest.raises(ConfigError, match="feed mix"):
        FeedOptions(mix=mix)


def test_a_mixture_survives_the_execution_property():
    feed = FeedOptions(mix=MIX)
    assert from_json(FeedOptions, to_json(feed)) == feed


def _mixture_sampler(sizes=(250, 37), parts=(70, 30), seed=3):
    return MixtureSampler([ShuffleSampler(size, seed) for size in sizes], parts, seed)


def test_every_block_holds_the_exact_proportions():
    indices = _mixture_sampler().indices(range(30_000)).reshape(-1, MIXTURE_PERIOD)
    assert ((indices < 250).sum(axis=1) == 70).all()


def test_each_source_cycles_without_omission_or_repetition():
    indices = _mixture_sampler().indices(range(30_000))
    large, small = indices[indices < 250], indices[indices >= 250] - 250
    for taken, size in ((large, 250), (small, 37)):
        passes = taken[: len(taken) // size * size].reshape(-1, size)
        assert (np.sort(passes, axis=1) == np.arange(size)).all()


def test_the_order_can_be_opened_anywhere():
    sampler = _mixture_sampler()
    whole = sampler.indices(range(30_000))
    random = np.random.default_rng(0)
    for start, stop in np.sort(random.integers(0, 30_001, (30, 2)), axis=1).tolist():
        np.testing.assert_array_equal(sampler.indices(range(start, stop)), whole[start:stop])


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_a_mixed_feed(cache, write_examples, make_parser, labels_of):
    parser = make_parser(cache=cache, mix={"train": 9, "extra": 1}, train_splits=["train", "extra"])
    paths = {
        "train": write_examples(range(150), folder="train"),
        "extra": write_examples(range(1000, 1013), files=2, folder="extra"),
    }
    feed = open_feed(paths, parser, parser.feed, shuffle=True)
    assert feed.num_examples == 163
    whole = labels_of(feed.batches([range(1000)], 64))
    blocks = np.reshape(whole, (-1, MIXTURE_PERIOD))
    assert ((blocks >= 1000).sum(axis=1) == 10).all()
    seen = Counter(whole)
    assert {seen[number] for number in range(150)} == {6}
    assert set(seen.values()) == {6, 7, 8}
    again = open_feed(paths, parser, parser.feed, shuffle=True)
    for start in (1, 100, 777):
        assert labels_of(again.batches([range(start, 1000)], 50)) == whole[start:]


def _splits(*spans):
    return [SplitFiles("train", span, [f"span-{span}"]) for span in spans]


def test_spans_find_their_sources():
    assert group_by_source(_splits(1, 3, 2), MIX) == {
        "span:newest": ["span-3"],
        "span:others": ["span-1", "span-2"],
    }
    assert group_by_source(_splits(1, 3, 2), {"span:2": 1, "span:newest": 1}) == {
        "span:2": ["span-2"],
        "span:newest": ["span-3"],
    }
    assert group_by_source(_splits(5), MIX) == {"span:newest": ["span-5"]}


@pytest.mark.parametrize(
    ("spans", "mix", "why"),
    [((1, 2), {"span:7": 1}, "span:7"), ((None, 2), MIX, "have no span")],
)
def test_spans_that_are_not_there(spans, mix, why):
    with pytest.raises(ConfigError, match=why):
        group_by_source(_splits(*spans), mix)
