"""Bad records are dropped and counted, or stop the training, according to the options."""

import gzip
import zlib
from pathlib import Path

import pytest

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.feeder_trainer.feed.feed import open_feed

GOOD = range(2000)


def _truncate(path: str) -> None:
    contents = Path(path).read_bytes()
    Path(path).write_bytes(contents[: len(contents) // 2])


def _recompress(path: str) -> None:
    Path(path).write_bytes(zlib.compress(gzip.decompress(Path(path).read_bytes())))


def _flip(path: str, offset: int) -> None:
    contents = bytearray(Path(path).read_bytes())
    contents[offset] ^= 0xFF
    Path(path).write_bytes(contents)


@pytest.mark.parametrize("cache", ["memory", "none"])
@pytest.mark.parametrize(
    ("replaced", "reason"),
    [
        ({"label": None}, "no feature 'label'"),
        ({"label": b"cat"}, "feature 'label' of another type"),
        ({"label": [1, 2]}, "feature 'label' of another shape"),
        ({"image": bytes(7)}, "image 'image' of another size"),
    ],
)
def test_a_bad_example_is_dropped(
    cache, replaced, reason, write_records, make_example, make_parser, labels_of
):
    records = [make_example(number) for number in GOOD]
    records[1000:1000] = [make_example(0, **replaced), b"\xff\xff", make_example(1, **replaced)]
    path = write_records(records)
    parser = make_parser(cache=cache, on_bad_record="skip")
    feed = open_feed([path], parser, parser.feed, shuffle=False)
    assert feed.rejections == {reason: 2, "not an Example": 1}
    assert feed.num_examples == len(GOOD)
    assert labels_of(feed.batches([GOOD], 128)) == list(GOOD)

    parser = make_parser(cache=cache)
    with pytest.raises(DataError, match=f"data.gz, record 1000: {reason}"):
        open_feed([path], parser, parser.feed, shuffle=False)


def test_images_that_are_all_twice_as_large_are_no_double_batch(
    write_records, make_example, make_parser
):
    path = write_records([make_example(number, image=bytes(96)) for number in range(4)])
    parser = make_parser()
    with pytest.raises(DataError, match="image 'image' of another size"):
        open_feed([path], parser, parser.feed, shuffle=False)


def test_a_truncated_file_gives_the_records_before_the_break(
    write_examples, make_parser, labels_of
):
    paths = write_examples(GOOD, files=2)
    _truncate(paths[1])
    parser = make_parser(on_bad_record="skip")
    feed = open_feed(paths, parser, parser.feed, shuffle=False)
    assert feed.rejections == {"truncated file": 1}
    fed = labels_of(feed.batches([range(feed.num_examples)], 100))
    assert fed[:1000] == list(GOOD[::2])
    assert fed[1000:] == list(GOOD[1::2])[: len(fed) - 1000]
    assert 1000 < len(fed) < 2000


def test_a_truncated_file_without_compression(write_records, make_example, make_parser, labels_of):
    path = write_records([make_example(number) for number in range(10)], "plain", "")
    Path(path).write_bytes(Path(path).read_bytes()[:-3])
    parser = make_parser(on_bad_record="skip")
    feed = open_feed([path], parser, parser.feed, shuffle=False)
    assert feed.rejections == {"truncated file": 1}
    assert labels_of(feed.batches([range(9)], 4)) == list(range(9))


def test_a_wrong_checksum_costs_one_record(write_records, make_example, make_parser, labels_of):
    records = [make_example(number) for number in range(10)]
    path = write_records(records, "plain", "")
    _flip(path, 3 * (len(records[0]) + 16) + 40)
    parser = make_parser(on_bad_record="skip")
    feed = open_feed([path], parser, parser.feed, shuffle=False)
    assert feed.rejections == {"wrong checksum": 1}
    assert labels_of(feed.batches([range(9)], 4)) == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_wrong_compression_is_no_tfrecord(write_examples, make_parser):
    paths = write_examples(range(20), files=2)
    _recompress(paths[0])
    parser = make_parser()
    with pytest.raises(DataError, match=r"data-0.gz, record 0: not a TFRecord file"):
        open_feed(paths, parser, parser.feed, shuffle=False)
    parser = make_parser(on_bad_record="skip")
    feed = open_feed(paths, parser, parser.feed, shuffle=False)
    assert feed.num_examples == 10


def test_more_bad_records_than_the_limit_are_an_error(write_records, make_example, make_parser):
    bad = [make_example(number, label=None) for number in range(3)]
    path = write_records([make_example(0), *bad])
    parser = make_parser(on_bad_record="skip", max_bad_records=2)
    with pytest.raises(DataError, match=r"max_bad_records=2 .*{\"no feature 'label'\": 3}"):
        open_feed([path], parser, parser.feed, shuffle=False)


def test_a_missing_file_is_named(tmp_path, make_parser):
    parser = make_parser()
    with pytest.raises(DataError, match="nowhere"):
        open_feed([str(tmp_path / "nowhere")], parser, parser.feed, shuffle=False)


def test_a_restart_sees_the_same_order_among_the_good_records(
    write_records, make_example, make_parser, labels_of
):
    records = [make_example(number) for number in range(60)]
    records.insert(7, b"\xff\xff")
    paths = [write_records(records[:30], "a"), write_records(records[30:], "b")]
    for cache in ("memory", "none"):
        parser = make_parser(on_bad_record="skip", cache=cache, shuffle_buffer=8)
        first = open_feed(paths, parser, parser.feed, shuffle=True)
        again = open_feed(paths, parser, parser.feed, shuffle=True)
        whole = labels_of(first.batches([range(120)], 8))
        assert labels_of(again.batches([range(41, 120)], 16)) == whole[41:]
