"""TFRecord files of any compression: each record once a pass, at the same position."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.feeder_trainer.feed.tfrecord import TFRecordSource

RECORDS = [f"record {index}".encode() * 20 for index in range(53)]


def _take(
    files: TFRecordSource, start: int, count: int, *, seed: int = 3, buffer: int = 10
) -> list:
    stream = files.stream(start, seed=seed, shuffle_buffer=buffer).take(count)
    return list(stream.as_numpy_iterator())


@pytest.mark.parametrize("gzip", [True, False])
@pytest.mark.parametrize("files", [1, 4])
def test_every_record_is_read(write_files: Callable, files: int, gzip: bool) -> None:
    records = TFRecordSource(write_files(RECORDS, files=files, gzip=gzip))

    assert records.num_examples == len(RECORDS)
    assert sorted(records.in_order().as_numpy_iterator()) == sorted(RECORDS)


def test_plain_and_gzipped_files_may_be_mixed_whatever_their_names(write_files: Callable) -> None:
    plain, gzipped = write_files(RECORDS[:20], gzip=False), write_files(RECORDS[20:])
    renamed = Path(plain[0]).rename(plain[0] + ".gz")

    records = TFRecordSource([str(renamed), *gzipped])

    assert sorted(records.in_order().as_numpy_iterator()) == sorted(RECORDS)


def test_a_plain_file_whose_first_bytes_look_like_gzip(write_files: Callable) -> None:
    large = b"x" * 0x8B1F  # Its length, the first field of the file, is written as 1f 8b.

    records = TFRecordSource(write_files([large, b"second"], gzip=False))

    assert list(records.in_order().as_numpy_iterator()) == [large, b"second"]


@pytest.mark.parametrize(("files", "buffer"), [(4, 0), (1, 1), (4, 10), (4, 1000)])
def test_each_pass_holds_each_record_once(write_files: Callable, files: int, buffer: int) -> None:
    records = TFRecordSource(write_files(RECORDS, files=files))

    stream = _take(records, 0, 3 * len(RECORDS), buffer=buffer)

    for index in range(3):
        one_pass = stream[index * len(RECORDS) : (index + 1) * len(RECORDS)]
        assert sorted(one_pass) == sorted(RECORDS)


@pytest.mark.parametrize("buffer", [0, 10])
def test_the_stream_goes_on_from_any_position(write_files: Callable, buffer: int) -> None:
    records = TFRecordSource(write_files(RECORDS, files=3))

    whole = _take(records, 0, 190, buffer=buffer)

    for start in (1, 52, 53, 130):
        assert _take(records, start, 190 - start, buffer=buffer) == whole[start:]


def test_passes_and_seeds_differ_and_only_they_matter(write_files: Callable) -> None:
    records = TFRecordSource(write_files(RECORDS))
    n = len(RECORDS)

    tf.random.set_seed(1)
    first = _take(records, 0, 2 * n)
    tf.random.set_seed(2)

    assert _take(records, 0, 2 * n) == first
    assert first[:n] != first[n:] != RECORDS
    assert _take(records, 0, n, seed=4) != first[:n]


def test_empty_files_among_others_do_no_harm(write_files: Callable) -> None:
    for gzip in (True, False):
        paths = write_files(RECORDS, files=60, gzip=gzip)  # Seven are empty.
        assert len(_take(TFRecordSource(paths), 0, 106)) == 106


def test_no_file_is_refused() -> None:
    with pytest.raises(DataError, match="no files"):
        TFRecordSource([])


@pytest.mark.parametrize("gzip", [True, False])
@pytest.mark.parametrize("left", [0.01, 0.5, 0.97])
def test_a_truncated_file_is_never_taken_for_a_shorter_one(
    write_files: Callable, gzip: bool, left: float
) -> None:
    (path,) = write_files(RECORDS, gzip=gzip)
    contents = Path(path).read_bytes()
    Path(path).write_bytes(contents[: int(len(contents) * left)])

    with pytest.raises((tf.errors.DataLossError, tf.errors.OutOfRangeError)):
        TFRecordSource([path])


@pytest.mark.parametrize("gzip", [True, False])
def test_a_damaged_file_is_refused(write_files: Callable, gzip: bool) -> None:
    (path,) = write_files(RECORDS, gzip=gzip)
    contents = bytearray(Path(path).read_bytes())
    contents[len(contents) // 2] ^= 0xFF
    Path(path).write_bytes(contents)

    with pytest.raises(tf.errors.DataLossError):
        TFRecordSource([path])
