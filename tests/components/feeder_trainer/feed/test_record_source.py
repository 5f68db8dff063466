"""Record sources of any compression: each record once a pass, at the same position."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.feeder_trainer.feed import record_index, shuffling
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.record_index import FileIndex, RecordIndexer
from tfx_feeder.components.feeder_trainer.feed.record_source import ShuffleMemory, TFRecordSource

RECORDS = [f"record {index}".encode() * 20 for index in range(53)]


class AnyRecord:
    """Parser that every record passes."""

    fixed_bytes = 0

    def __call__(self, serialized: tf.Tensor) -> tf.Tensor:
        return serialized

    def fingerprint(self) -> str:
        return ""


def indexer(**options) -> RecordIndexer:
    return RecordIndexer(AnyRecord(), FeedOptions(**options))  # pyright: ignore[reportArgumentType]


def open_source(paths: Sequence[str]) -> TFRecordSource:
    return TFRecordSource(indexer().index(paths))


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes small files have several segments."""
    monkeypatch.setattr(record_index, "_RUN_BYTES", 500)
    monkeypatch.setattr(shuffling, "_MIN_SEGMENT_BYTES", 500)


def _records(source: TFRecordSource, start: int, buffer: int, seed: int = 3) -> Iterator[bytes]:
    stream = source.stream(start, seed=seed, memory=ShuffleMemory(buffer))
    return iter(stream.unbatch().as_numpy_iterator())


def _take(
    source: TFRecordSource, start: int, count: int, *, seed: int = 3, buffer: int = 10
) -> list:
    records = _records(source, start, buffer, seed)
    return [next(records) for _ in range(count)]


def _in_order(source: TFRecordSource) -> list:
    return list(source.first(source.num_examples).as_numpy_iterator())


@pytest.mark.parametrize("gzip", [True, False])
@pytest.mark.parametrize("files", [1, 4])
def test_every_record_is_read(write_files: Callable, files: int, gzip: bool) -> None:
    records = open_source(write_files(RECORDS, files=files, gzip=gzip))

    assert records.num_examples == len(RECORDS)
    assert sorted(_in_order(records)) == sorted(RECORDS)


def test_plain_and_gzipped_files_may_be_mixed_whatever_their_names(write_files: Callable) -> None:
    plain, gzipped = write_files(RECORDS[:20], gzip=False), write_files(RECORDS[20:])
    renamed = Path(plain[0]).rename(plain[0] + ".gz")

    records = open_source([str(renamed), *gzipped])

    assert sorted(_in_order(records)) == sorted(RECORDS)


def test_a_plain_file_whose_first_bytes_look_like_gzip(write_files: Callable) -> None:
    large = b"x" * 0x8B1F  # Its length, the first field of the file, is written as 1f 8b.

    records = open_source(write_files([large, b"second"], gzip=False))

    assert _in_order(records) == [large, b"second"]


@pytest.mark.parametrize("gzip", [True, False])
@pytest.mark.parametrize(("files", "buffer"), [(4, 0), (1, 1), (4, 10), (4, 1000)])
def test_each_pass_holds_each_record_once(
    write_files: Callable, files: int, buffer: int, gzip: bool
) -> None:
    records = open_source(write_files(RECORDS, files=files, gzip=gzip))

    stream = _take(records, 0, 3 * len(RECORDS), buffer=buffer)

    for index in range(3):
        one_pass = stream[index * len(RECORDS) : (index + 1) * len(RECORDS)]
        assert sorted(one_pass) == sorted(RECORDS)


@pytest.mark.parametrize("gzip", [True, False])
@pytest.mark.parametrize("buffer", [0, 10])
def test_the_stream_goes_on_from_any_position(
    write_files: Callable, buffer: int, gzip: bool
) -> None:
    records = open_source(write_files(RECORDS, files=3, gzip=gzip))

    whole = _take(records, 0, 190, buffer=buffer)

    for start in (1, 52, 53, 130):
        assert _take(records, start, 190 - start, buffer=buffer) == whole[start:]


@pytest.mark.parametrize("gzip", [True, False])
def test_passes_and_seeds_differ_and_only_they_matter(write_files: Callable, gzip: bool) -> None:
    records = open_source(write_files(RECORDS, gzip=gzip))
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
        assert len(_take(open_source(paths), 0, 106)) == 106


def test_no_file_is_refused() -> None:
    with pytest.raises(DataError, match="no examples"):
        open_source([])


@pytest.mark.parametrize("gzip", [True, False])
@pytest.mark.parametrize("left", [0.01, 0.5, 0.97])
def test_a_truncated_file_is_never_taken_for_a_shorter_one(
    write_files: Callable, gzip: bool, left: float
) -> None:
    (path,) = write_files(RECORDS, gzip=gzip)
    contents = Path(path).read_bytes()
    Path(path).write_bytes(contents[: int(len(contents) * left)])

    with pytest.raises((tf.errors.DataLossError, tf.errors.OutOfRangeError)):
        open_source([path])


@pytest.mark.parametrize("gzip", [True, False])
def test_a_damaged_file_is_refused(write_files: Callable, gzip: bool) -> None:
    (path,) = write_files(RECORDS, gzip=gzip)
    contents = bytearray(Path(path).read_bytes())
    contents[len(contents) // 2] ^= 0xFF
    Path(path).write_bytes(contents)

    with pytest.raises(tf.errors.DataLossError):
        open_source([path])


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=5).filter(any),
    block_size=st.integers(1, 60),
    seed=st.integers(0, 5),
    start=st.integers(0, 300),
)
def test_blocks_hold_each_record_of_a_pass_once(counts, block_size, seed, start):
    files = [
        FileIndex(f"{index}", "", np.arange(count) * 600, np.full(count, 3), count * 600)
        for index, count in enumerate(counts)
    ]
    plan = shuffling.SegmentPlan.of(files, block_size, 1 << 62, seed)
    firsts = np.cumsum([0, *plan.counts])

    def stream(position: int) -> Iterator[int]:
        for block in plan.blocks(position):
            records = [range(firsts[s], firsts[s] + plan.counts[s]) for s in block.segments]
            order = np.random.default_rng(block.seeds).permutation(block.count)
            yield from np.concatenate(records)[order][block.skipped :].tolist()

    total = 3 * sum(counts)
    whole = [record for record, _ in zip(stream(0), range(start + 2 * total), strict=False)]
    assert sorted(whole[:total]) == sorted(whole[total : 2 * total]) == list(range(total))
    again = [record for record, _ in zip(stream(start), range(total), strict=False)]
    assert again == whole[start : start + total]


def test_one_sorted_file_is_mixed_better_than_by_a_shuffle_buffer(write_files: Callable) -> None:
    rows = [f"{index:06d}".encode() * 10 for index in range(3000)]
    labels = {row: index // 300 for index, row in enumerate(rows)}
    (path,) = write_files(rows, gzip=False)
    source = open_source([path])
    taken = _take(source, 0, 6000, buffer=300)
    buffered = tf.data.TFRecordDataset(path).shuffle(300, seed=1).as_numpy_iterator()

    def classes(records: Sequence[bytes]) -> float:
        return float(np.mean([len({labels[r] for r in b}) for b in np.reshape(records, (-1, 60))]))

    assert classes(taken[:3000]) > 2 * classes(list(buffered))
    # The first records of the two passes are not those of the same block.
    assert len(set(taken[:300]) & set(taken[3000:3300])) < 100


def test_blocks_stay_within_the_memory_whatever_the_size_of_the_records() -> None:
    large = FileIndex("large", "", np.arange(100) << 20, np.ones(100, int), 100 << 20)
    memory = ShuffleMemory(10_000, 16 << 20)
    assert memory.block_size(1 << 20) == 5
    assert "of 5 examples" in TFRecordSource([large]).describe(memory)


def test_a_buffer_reserves_no_more_than_the_records(write_files: Callable) -> None:
    source = open_source(write_files(RECORDS))
    assert f"of {len(RECORDS)} examples" in source.describe(ShuffleMemory(10**12, 1 << 60))


def test_a_file_is_read_once_by_all_attempts(
    write_files: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_index, "_SAVED_FROM_BYTES", 1)
    (path,) = write_files(RECORDS)
    reads = []
    original = record_index.open_records
    monkeypatch.setattr(
        record_index, "open_records", lambda *where: reads.append(where) or original(*where)
    )

    def index() -> FileIndex:
        return indexer(cache_dir=str(tmp_path)).index([path])[0]

    first = index()
    assert reads
    reads.clear()
    again = index()
    assert not reads
    np.testing.assert_array_equal(again.offsets, first.offsets)
    Path(path).write_bytes(Path(write_files(RECORDS[:5])[0]).read_bytes())
    assert index().num_records == 5


def test_an_index_in_a_folder_of_others_is_neither_read_nor_written(
    write_files: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_index, "_SAVED_FROM_BYTES", 1)
    (path,) = write_files(RECORDS)
    cache = tmp_path / "cache"
    indexer(cache_dir=str(cache)).index([path])
    (saved,) = cache.rglob("*.npz")
    (tmp_path / "mine").write_text("mine")
    saved.unlink()
    saved.symlink_to(tmp_path / "mine")
    saved.parent.chmod(0o777)

    indexer(cache_dir=str(cache)).index([path])

    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("gzip", [True, False])
def test_the_order_does_not_depend_on_how_many_records_were_parsed_together(
    write_files: Callable, monkeypatch: pytest.MonkeyPatch, gzip: bool
) -> None:
    # Borders of segments that are not those of runs.
    monkeypatch.setattr(shuffling, "_MIN_SEGMENT_BYTES", 700)
    monkeypatch.setattr(shuffling, "_MAX_SEGMENT_BYTES", 700)
    records = [record * (1 + 3 * (index % 7 == 0)) for index, record in enumerate(RECORDS)]
    paths = write_files(records, files=2, gzip=gzip)
    memory = ShuffleMemory(10, 6000)
    orders, indexes = [], []
    for size in (1, 3, 5, 1024):
        monkeypatch.setattr(RecordIndexer, "chunk_size", lambda *_, size=size: size)
        source = open_source(paths)
        indexes.append([(file.offsets.tolist(), file.counts.tolist()) for file in source.files])
        stream = source.stream(0, seed=3, memory=memory).unbatch().take(2 * len(RECORDS))
        orders.append(list(stream.as_numpy_iterator()))
    assert orders[1:] == orders[:1] * 3
    assert indexes[1:] == indexes[:1] * 3


def skewed_file(compression: str = "") -> FileIndex:
    """Index of 90,000 records of 100 bytes, followed by 1,000 of 1 MiB."""
    small, large = 655, 1 << 20
    counts = np.array([small] * 137 + [1] * 1000)
    lengths = np.where(counts > 1, small * 100, large)
    offsets = np.cumsum(lengths) - lengths
    return FileIndex("file", compression, offsets, counts, int(lengths.sum()))


def test_blocks_and_buffers_of_skewed_records_stay_within_the_memory() -> None:
    memory = ShuffleMemory(10_000, 128 << 20)
    file = skewed_file()
    limits = memory.block_size(file.num_bytes / file.num_records), memory.block_bytes

    plan = shuffling.SegmentPlan.of([file], *limits, seed=3)
    blocks = list(itertools.takewhile(lambda b: b.count, itertools.islice(plan.blocks(0), 200)))
    bytes_of = [int(plan.sizes[block.segments].sum()) for block in blocks]
    assert max(bytes_of) <= memory.block_bytes + int(plan.sizes.max())

    files = [skewed_file("GZIP")] * 2
    size = shuffling.buffer_size_within(files, limits[0], memory.fits)
    assert 1 < size < limits[0]
    assert size * (1 << 20) <= memory.block_bytes


def test_a_small_record_in_front_of_large_ones_does_not_make_chunks_large(
    write_files: Callable[..., list[str]],
) -> None:
    sizes: list[int] = []

    class Parser(AnyRecord):
        def __call__(self, serialized: tf.Tensor) -> tf.Tensor:
            tf.py_function(lambda n: sizes.append(int(n)), [tf.size(serialized)], [])
            return super().__call__(serialized)

    [path] = write_files([b"x", *[bytes(1 << 20)] * 40])
    opening = RecordIndexer(Parser(), FeedOptions(memory_budget_mb=64))  # pyright: ignore[reportArgumentType]
    opening.index([path])
    assert sum(sizes) == 41
    assert max(sizes) <= 8
    sizes.clear()
    for _ in opening.parsed_parts(opening.index([path])):
        pass
    assert sum(sizes) == 41
    assert max(sizes) <= 8


def test_records_are_parsed_in_chunks_bounded_by_bytes() -> None:
    parser = AnyRecord()
    parser.fixed_bytes = 3 << 20
    options = FeedOptions(memory_budget_mb=512)
    opening = RecordIndexer(parser, options)  # pyright: ignore[reportArgumentType]
    threads = record_index.NUM_THREADS
    assert opening.chunk_size(1000) == max(1, (64 << 20) // (2 * (threads + 1)) // (3147728))
    parser.fixed_bytes = 4
    assert opening.chunk_size(100) == 1024
