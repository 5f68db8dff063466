"""Processes that read a part of the files each: together every example once in each pass."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tfx_feeder.common.errors import ConfigError, DataError
from tfx_feeder.components.feeder_trainer.feed import record_index, shuffling, streaming_feed
from tfx_feeder.components.feeder_trainer.feed.feed import Feed, open_feed
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser
from tfx_feeder.components.feeder_trainer.feed.sharding import FilePart, Shard

N = 200
IMAGES = {"image": Image(8, 8, 1)}
KINDS: dict[str, dict[str, Any]] = {
    "cached": {"cache": "memory"},
    "compressed": {"cache": "none", "shuffle_buffer": 30},
    "plain": {"cache": "none", "shuffle_buffer": 30},
    "in order": {"cache": "none", "shuffle_buffer": 0},
    "plain in order": {"cache": "none", "shuffle_buffer": 0},
}


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes small files have several segments."""
    monkeypatch.setattr(record_index, "_RUN_BYTES", 500)
    monkeypatch.setattr(shuffling, "_MIN_SEGMENT_BYTES", 500)


@pytest.fixture(scope="module")
def plain_files(digits: Any, write_files: Callable[..., list[str]]) -> list[str]:
    return write_files(digits.rows(), files=3, gzip=False)


@pytest.fixture
def open_team(
    digit_files: list[str], plain_files: list[str], digits_spec: dict[str, Any]
) -> Callable[..., list[Feed]]:
    def opened(count: int, kind: str = "cached", **options: Any) -> list[Feed]:
        paths = plain_files if "plain" in kind else digit_files
        options = {"images": IMAGES, "sharding": "file", **KINDS[kind], **options}
        feed = FeedOptions(**options)
        return [
            open_feed(
                paths, ExampleParser(digits_spec, feed), feed, shuffle=True, shard=Shard(i, count)
            )
            for i in range(count)
        ]

    return opened


def _ids(feed: Feed, epochs: Sequence[range], batch_size: int) -> list[list[int]]:
    return [b[0]["id"].numpy().tolist() for b in feed.batches(epochs, batch_size)]


def _flat(batches: Sequence[list[int]]) -> list[int]:
    return [index for batch in batches for index in batch]


@given(st.integers(1, 5), st.integers(5, 40), st.integers(0, 100))
def test_parts_cover_every_pass(count: int, total: int, position: int) -> None:
    parts = [FilePart(Shard(index, count), total) for index in range(count)]

    assert sorted(index for part in parts for index in part.records) == list(range(total))
    assert sum(part.before(position) for part in parts) == position
    assert {part.before(3 * total) / 3 for part in parts} == {len(p.records) for p in parts}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("count", "batch_size"), [(2, 32), (3, 7)])
def test_each_pass_holds_each_example_once_in_whole_batches(
    open_team: Callable[..., list[Feed]], kind: str, count: int, batch_size: int
) -> None:
    epochs = [range(N), range(N, 2 * N)]

    teams = [_ids(feed, epochs, batch_size) for feed in open_team(count, kind)]

    batches = [_flat(parts) for parts in zip(*teams, strict=True)]
    rest = [N % batch_size] * (N % batch_size > 0)
    assert [len(batch) for batch in batches] == 2 * ([batch_size] * (N // batch_size) + rest)
    passes = _flat(batches)
    assert sorted(passes[:N]) == sorted(passes[N:]) == list(range(N))
    parts = [set(_flat(own)) for own in teams]
    assert sum(map(len, parts)) == N, "Two processes provide the same example."
    largest = max(len(part) for own in zip(*teams, strict=True) for part in own)
    assert largest <= -(-batch_size // count)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_smaller_than_the_team_can_be_sampled(
    open_team: Callable[..., list[Feed]], kind: str
) -> None:
    assert max(len(feed.sample(2)[1]) for feed in open_team(3, kind)) == 1


def test_rows_of_a_sparse_feature_are_as_wide_as_in_the_whole_batch(
    write_files: Callable[..., list[str]],
) -> None:
    spec = {"tags": tf.io.VarLenFeature(tf.int64), "label": tf.io.FixedLenFeature([], tf.int64)}
    paths = write_files([{"tags": [1 + i] * (i % 7), "label": i} for i in range(20)])
    options = FeedOptions()

    def batches(shard: Shard) -> list[tuple]:
        parser = ExampleParser(spec, options)
        feed = open_feed(paths, parser, options, shuffle=True, shard=shard)
        return [
            (tf.sparse.to_dense(features["tags"]).numpy().tolist(), label.numpy().tolist())
            for features, label in feed.batches([range(20)], 6)
        ]

    teams = zip(*(batches(Shard(index, 3)) for index in range(3)), strict=True)
    joined = [tuple(_flat(column) for column in zip(*parts, strict=True)) for parts in teams]
    assert joined == batches(Shard())


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_depends_on_seed_and_position_only(
    open_team: Callable[..., list[Feed]], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs = [range(0, 192), range(N, 2 * N), range(2 * N, 3 * N)]
    _, feed, _ = open_team(3, kind)
    whole = _ids(feed, epochs, 16)

    assert _ids(feed, [range(160, 192), *epochs[1:]], 16) == whole[10:]
    assert _flat(_ids(feed, epochs[1:], 50)) == _flat(whole[12:])
    monkeypatch.setattr(streaming_feed, "_MAX_SIZES", 20)
    assert _ids(feed, epochs, 16) == whole


def test_a_process_reads_and_holds_its_part_only(
    tmp_path: Path, serialize: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    path = str(tmp_path / "large")
    with tf.io.TFRecordWriter(path) as writer:
        for number in range(2000):
            writer.write(serialize({"label": number, "image": bytes(10_000)}))
    spec = {
        "label": tf.io.FixedLenFeature([], tf.int64),
        "image": tf.io.FixedLenFeature([], tf.string),
    }

    def bytes_read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    read = {}
    for count in (1, 4):
        feed = FeedOptions(cache="none", sharding="file", cache_dir=str(tmp_path))
        shard = Shard(count // 2, count)
        opened = open_feed([path], ExampleParser(spec, feed), feed, shuffle=True, shard=shard)
        before = bytes_read()
        labels = [label for batch in opened.batches([range(2000)], 100) for label in batch[1]]
        read[count] = bytes_read() - before
        assert len(labels) == 2000 // count
    # Two blocks are filled at once, one of which may belong to the next pass.
    assert read[4] < read[1] / 3

    feed = FeedOptions(memory_budget_mb=8, cache_dir=str(tmp_path))
    opened = open_feed([path], ExampleParser(spec, feed), feed, shuffle=True, shard=Shard(1, 4))
    assert opened.description.startswith("memory: 4.8 MiB of decoded examples fit")
    assert opened.description.endswith("part 2 of 4 of the files")


def test_auto_divides_the_files_of_data_that_exceed_the_memory(
    open_team: Callable[..., list[Feed]], digits_spec: dict[str, Any], digit_files: list[str]
) -> None:
    (small, _) = open_team(2, sharding="auto")
    assert not small.order
    assert "files" not in small.description
    assert [feed.order for feed in open_team(2, "plain")] == ["blocks, files of 2"] * 2
    with pytest.raises(ConfigError, match="sharding and mix"):
        FeedOptions(sharding="file", mix={"span:newest": 1})
    with pytest.raises(ConfigError, match="service and sharding"):
        FeedOptions(sharding="data", service="local:1")


def test_fewer_examples_than_processes_are_refused(open_team: Callable[..., list[Feed]]) -> None:
    with pytest.raises(DataError, match="200 examples cannot be divided among 201 processes"):
        open_team(201)
