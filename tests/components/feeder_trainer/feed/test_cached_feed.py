"""Where the examples are held changes neither what is fed nor in which order."""

import os
from pathlib import Path

import pytest
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.feed import open_feed
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser


def test_disk_feeds_the_same_sequence_as_memory(tmp_path, write_examples, make_parser, labels_of):
    paths = write_examples(range(103))
    sequences = []
    for cache in ("memory", "disk"):
        parser = make_parser(cache=cache, cache_dir=str(tmp_path / "cache"))
        feed = open_feed(paths, parser, parser.feed, shuffle=True)
        assert feed.description.startswith(cache)
        sequences.append(labels_of(feed.batches([range(103), range(103, 206)], 16)))
    assert sequences[0] == sequences[1]
    assert sorted(sequences[0][:103]) == sorted(sequences[0][103:]) == list(range(103))


def test_disk_leaves_no_file_behind(tmp_path, write_examples, make_parser):
    parser = make_parser(cache="disk", cache_dir=str(tmp_path / "cache"))
    feed = open_feed(write_examples(range(10)), parser, parser.feed, shuffle=True)
    held = [path for path in Path("/proc/self/maps").read_text().split() if "cache/" in path]
    assert held, "The examples are not in a mapped file."
    del feed
    assert os.listdir(tmp_path / "cache") == []


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_opening_anywhere_continues_the_sequence(
    cache, tmp_path, write_examples, make_parser, labels_of
):
    parser = make_parser(cache=cache, cache_dir=str(tmp_path), shuffle_buffer=10)
    feed = open_feed(write_examples(range(50)), parser, parser.feed, shuffle=True)
    whole = labels_of(feed.batches([range(150)], 7))
    for start in (1, 49, 50, 77):
        assert labels_of(feed.batches([range(start, 150)], 32)) == whole[start:]


@pytest.mark.parametrize(
    ("budget_mb", "cache_dir", "kind", "reason"),
    [
        (8, False, "memory", "fit into the budget of 8 MiB"),
        (1, False, "none", "no cache_dir is set"),
        (1, True, "disk", "exceed the budget of 1 MiB"),
    ],
)
def test_auto_reports_its_choice_and_the_reason(
    budget_mb, cache_dir, kind, reason, tmp_path, write_records, make_example
):
    image = bytes(1 << 20)
    path = write_records([make_example(number, image=image) for number in range(3)])
    spec = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }
    feed = FeedOptions(
        images={"image": {"height": 1024, "width": 1024, "channels": 1}},
        memory_budget_mb=budget_mb,
        cache_dir=str(tmp_path) if cache_dir else None,
    )
    opened = open_feed([path], ExampleParser(spec, feed), feed, shuffle=True)
    assert opened.description.startswith(f"{kind}: 3.0 MiB of decoded examples")
    assert reason in opened.description


def test_features_that_a_cache_cannot_hold(write_examples, make_parser):
    paths = write_examples(range(4))
    ragged = {"label": tf.io.FixedLenFeature([], tf.int64), "image": tf.io.VarLenFeature(tf.string)}
    strings = {**ragged, "image": tf.io.FixedLenFeature([], tf.string)}
    for spec, cache, why in (
        (ragged, "memory", "vary in length"),
        (ragged, "disk", "vary in length"),
        (strings, "disk", "strings"),
    ):
        feed = FeedOptions(cache=cache)
        with pytest.raises(ConfigError, match=why):
            open_feed(paths, ExampleParser(spec, feed), feed, shuffle=True)
    feed = FeedOptions()
    opened = open_feed(paths, ExampleParser(ragged, feed), feed, shuffle=True)
    assert opened.description.startswith("none: some features vary in length; shuffled in")
    feed = FeedOptions(cache="memory")
    opened = open_feed(paths, ExampleParser(strings, feed), feed, shuffle=True)
    assert len(list(opened.batches([range(4)], 4))) == 1
