"""Index of the records of TFRecord files, from one pass that also checks that they parse.

The index of a file is kept in the system's folder for temporary files, or in ``cache_dir``, so that
the next attempt of a training and the other workers on the machine do not read the file again. It
is valid for one path, size and modification time, and for one parser. A folder in which another
user can write is not used.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_feeder.common.files import atomic_path
from tfx_feeder.common.tfrecord import FRAME_BYTES
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, cache_folder
from tfx_feeder.components.feeder_trainer.feed.parsing import (
    PARSE_BATCH_SIZE,
    ExampleParser,
    tensor_bytes,
)
from tfx_feeder.components.feeder_trainer.feed.tfdata import NUM_THREADS, without_autotune
from tfx_feeder.components.feeder_trainer.feed.tfrecord import (
    compression_of,
    contents_bytes,
    open_records,
    open_run,
)

_RUN_BYTES = 1 << 16
_READ_BYTES = 1 << 18
_SAVED_FROM_BYTES = 1 << 20
"""Size of a file from which its index is saved; a smaller file is read again faster."""
_OPENING_BYTES = 1 << 26
_VERSION = 3
_SAMPLE = 32
_SAMPLE_FILES = 8


@dataclass(frozen=True, slots=True)
class FileIndex:
    """Records of one TFRecord file, as runs of consecutive records.

    Args:
        path: Path of the file.
        compression: ``"GZIP"`` or ``""``.
        offsets: Position of each run in the uncompressed contents, in bytes, int64 ``[runs]``.
        counts: Records in each run, int64 ``[runs]``.
        num_bytes: Length of the uncompressed contents, up to the end of the last run.
        decoded_bytes: Size of the decoded examples of the whole file.
        first: Index of the first record in the file, above 0 for a part of a file.
        skipped: Records of the first run that do not belong to the part.
    """

    path: str
    compression: str
    offsets: np.ndarray
    counts: np.ndarray
    num_bytes: int
    decoded_bytes: int = 0
    first: int = 0
    skipped: int = 0

    @property
    def num_records(self) -> int:
        """Records in the file, or in the part of it."""
        return int(self.counts.sum())

    @property
    def bytes_of_runs(self) -> int:
        """Length of all runs in bytes."""
        return self.num_bytes - int(self.offsets[0]) if len(self.offsets) else 0

    @property
    def largest_record(self) -> int:
        """Length of the largest record in bytes, about: the largest mean of a run."""
        if not len(self.offsets):
            return 0
        return int(np.max(np.diff(self.offsets, append=self.num_bytes) / self.counts))

    def heaviest_bytes(self, count: int) -> int:
        """Returns the largest length of consecutive records, rounded up to whole runs.

        Args:
            count: Number of records.
        """
        if not len(self.offsets):
            return 0
        ends = np.cumsum(self.counts)
        borders = np.append(self.offsets, self.num_bytes)
        last = np.minimum(np.searchsorted(ends, ends - self.counts + count), len(ends) - 1)
        return int(np.max(borders[last + 1] - self.offsets))

    def part(self, records: range) -> "FileIndex":
        """Returns the index of consecutive records of a whole file.

        Args:
            records: Indices of the records in the file; at least one.
        """
        ends = np.cumsum(self.counts)
        starts = ends - self.counts
        begin = int(np.searchsorted(ends, records.start, side="right"))
        end = int(np.searchsorted(ends, records.stop, side="left")) + 1
        counts = np.minimum(ends, records.stop) - np.maximum(starts, records.start)
        return dataclasses.replace(
            self,
            offsets=self.offsets[begin:end],
            counts=counts[begin:end],
            num_bytes=int(self.offsets[end]) if end < len(starts) else self.num_bytes,
            first=records.start,
            skipped=records.start - int(starts[begin]),
        )

    def merged(self, run_bytes: int) -> "FileIndex":
        """Returns the same index with longer runs.

        Args:
            run_bytes: Approximate length of a run in bytes.
        """
        starts = _first_in_each(self.offsets, run_bytes)
        counts = np.add.reduceat(self.counts, starts) if len(starts) else self.counts
        return dataclasses.replace(self, offsets=self.offsets[starts], counts=counts)


def file_runs(files: Sequence[FileIndex]) -> tuple[tf.Tensor, ...]:
    """Returns the arguments of ``open_run`` that read each file: tensors ``[files]``."""
    is_gzip = [bool(file.compression) for file in files]
    offsets = [
        0 if gzip or not len(file.offsets) else int(file.offsets[0])
        for file, gzip in zip(files, is_gzip, strict=True)
    ]
    skipped = [
        file.first if gzip else file.skipped for file, gzip in zip(files, is_gzip, strict=True)
    ]
    return (
        tf.constant([file.path for file in files]),
        tf.constant([file.compression for file in files]),
        tf.constant(offsets, tf.int64),
        tf.constant(skipped, tf.int64),
        tf.constant([file.num_records for file in files], tf.int64),
        tf.constant([_READ_BYTES] * len(files), tf.int64),
    )


def records_in_order(files: Sequence[FileIndex]) -> tf.data.Dataset:
    """Returns the records of files, or of parts of them, in their order: strings ``[]``."""
    return tf.data.Dataset.from_tensor_slices(file_runs(files)).flat_map(open_run)


def _is_private(folder: str) -> bool:
    """Returns True if nobody but this user can write in a folder, which must exist."""
    found = os.lstat(folder)
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


class RecordIndexer:
    """Makes the index of files, reading and parsing each record once.

    Args:
        parser: Parser that every record must pass.
        options: Memory budget and folder of the saved indexes.
    """

    def __init__(self, parser: ExampleParser, options: FeedOptions) -> None:
        self._parser = parser
        self._known: dict[str, FileIndex] = {}
        self._opening_bytes = min(_OPENING_BYTES, (options.memory_budget_mb << 20) // 8)
        self._folder = os.path.join(cache_folder(options), f"tfx-feeder-index-{os.getuid()}")

    def index(self, paths: Sequence[str]) -> list[FileIndex]:
        """Returns the index of each file; files are read in parallel.

        Args:
            paths: TFRecord files, gzipped or not.

        Raises:
            tf.errors.OpError: A file cannot be read, is truncated, or a record does not parse.
        """
        unknown = [path for path in paths if not self._load(path)]
        if unknown:
            builders = [_IndexBuilder(path) for path in unknown]
            for number, lengths, decoded in self._checked_lengths(builders):
                builders[int(number)].add(lengths.numpy(), int(decoded))
            for builder in builders:
                self.remember(builder.build())
        return [self._known[path] for path in paths]

    def parsed(self, paths: Sequence[str]) -> Iterator[Any]:
        """Yields the parsed records in the order of the files; their indexes are known then.

        Args:
            paths: TFRecord files, gzipped or not.

        Yields:
            Elements of the parser, of bounded size.

        Raises:
            tf.errors.OpError: A file cannot be read, is truncated, or a record does not parse.
        """
        builders = [_IndexBuilder(path) for path in paths]
        chunks = _files_dataset(builders).flat_map(self._chunks_of(builders)).prefetch(2)

        @tf.autograph.experimental.do_not_convert
        def parse(number: tf.Tensor, records: tf.Tensor) -> tuple:
            return number, tf.strings.length(records), self._parser(records)

        parsed = chunks.map(parse, num_parallel_calls=NUM_THREADS, deterministic=True)
        for number, lengths, batch in without_autotune(parsed):
            builders[int(number)].add(lengths.numpy(), _decoded_bytes(batch))
            yield batch
        for builder in builders:
            self.remember(builder.build())

    def parsed_parts(self, files: Sequence[FileIndex]) -> tf.data.Dataset:
        """Returns the parsed records of files, or of parts of them, in their order.

        Args:
            files: Indexes with at least one record.
        """
        size = self.chunk_size(max(file.largest_record for file in files))
        chunks = records_in_order(files).batch(size).prefetch(2)
        return without_autotune(
            chunks.map(self._parser, num_parallel_calls=NUM_THREADS, deterministic=True)
        )

    def estimate_decoded_bytes(self, paths: Sequence[str]) -> tuple[float, bool]:
        """Estimates the decoded size of all examples from the first ones, or looks it up.

        Args:
            paths: TFRecord files, gzipped or not.

        Returns:
            Size in bytes, which is exact for files that were indexed; and True if it is only a
            lower bound because files are compressed.
        """
        if indexes := self.known(paths):
            return sum(index.decoded_bytes for index in indexes), False
        builders = [_IndexBuilder(path) for path in paths]
        size = min(_SAMPLE, self.chunk_size(_sampled_length(builders)))
        chunks = _files_dataset(builders).flat_map(self._chunks_of(builders, size)).take(1)
        for _, records in chunks:
            count = len(records)
            each = _decoded_bytes(self._parser(records)) / count
            frame = int(tf.reduce_sum(tf.strings.length(records))) / count + FRAME_BYTES
            total = sum(tf.io.gfile.stat(path).length for path in paths)
            return each * total / frame, any(builder.compression for builder in builders)
        return 0.0, False

    def known(self, paths: Sequence[str]) -> list[FileIndex] | None:
        """Returns the indexes of files if no file has to be read for them.

        Args:
            paths: TFRecord files, gzipped or not.
        """
        return [self._known[path] for path in paths] if all(map(self._load, paths)) else None

    def chunk_size(self, record_bytes: int) -> int:
        """Returns how many records to parse together, so that memory stays bounded.

        Args:
            record_bytes: Length of a large serialized record.
        """
        # Each thread holds a chunk, and decoding holds it twice.
        at_once = 2 * (NUM_THREADS + 1)
        size = self._opening_bytes // at_once // (record_bytes + self._parser.fixed_bytes)
        return min(max(1, size), PARSE_BATCH_SIZE)

    def remember(self, index: FileIndex) -> None:
        """Keeps an index for the next call, and for other processes if the file is large."""
        self._known[index.path] = index
        if index.num_bytes < _SAVED_FROM_BYTES:
            return
        with contextlib.suppress(OSError, tf.errors.OpError):
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            if not _is_private(self._folder):
                return
            name = self._name(index.path)
            with atomic_path(Path(name)) as partial:
                np.savez(
                    partial,
                    compression=np.array(index.compression),
                    offsets=index.offsets,
                    counts=index.counts,
                    num_bytes=np.array(index.num_bytes),
                    decoded_bytes=np.array(index.decoded_bytes),
                )

    def _load(self, path: str) -> bool:
        """Returns True if the index of a file is known, or saved and still valid."""
        if path in self._known:
            return True
        # A damaged index is not an error: the file is read again.
        with contextlib.suppress(OSError, tf.errors.OpError, ValueError, KeyError, EOFError):
            if not _is_private(self._folder):
                return False
            with np.load(self._name(path), allow_pickle=False) as saved:
                self._known[path] = FileIndex(
                    path,
                    str(saved["compression"]),
                    saved["offsets"],
                    saved["counts"],
                    int(saved["num_bytes"]),
                    int(saved["decoded_bytes"]),
                )
        return path in self._known

    def _name(self, path: str) -> str:
        file = tf.io.gfile.stat(path)
        version = [_VERSION, file.length, file.mtime_nsec]
        key = [*version, os.path.abspath(path), self._parser.fingerprint()]
        digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
        return os.path.join(self._folder, f"{digest}.npz")

    def _checked_lengths(self, builders: Sequence["_IndexBuilder"]) -> tf.data.Dataset:
        """Returns file, lengths and decoded bytes of each chunk: ``(number, [chunk], bytes)``."""

        @tf.autograph.experimental.do_not_convert
        def check(number: tf.Tensor, records: tf.Tensor) -> tuple[tf.Tensor, ...]:
            parsed = tf.nest.flatten(self._parser(records), expand_composites=True)
            # TensorFlow omits a computation of which nothing is returned.
            nothing = tf.reduce_sum([_zero(tensor) for tensor in parsed])
            decoded = tf.add_n([tensor_bytes(tensor) for tensor in parsed])
            return number, tf.strings.length(records) + nothing, decoded

        chunks = _files_dataset(builders).interleave(
            self._chunks_of(builders),
            cycle_length=min(len(builders), NUM_THREADS),
            num_parallel_calls=min(len(builders), NUM_THREADS),
            deterministic=True,
        )
        return without_autotune(
            chunks.map(check, num_parallel_calls=NUM_THREADS, deterministic=True)
        )

    def _chunks_of(self, builders: Sequence["_IndexBuilder"], size: int | None = None) -> Any:
        size = size or self.chunk_size(_sampled_length(builders))

        @tf.autograph.experimental.do_not_convert
        def chunks(number: tf.Tensor, path: tf.Tensor, compression: tf.Tensor) -> tf.data.Dataset:
            records = open_records(path, compression).batch(size)
            return records.map(lambda chunk: (number, chunk))

        return chunks


@dataclass(slots=True)
class _IndexBuilder:
    """Collects the index of a file from the lengths of its records in order."""

    path: str
    compression: str = ""
    position: int = 0
    decoded_bytes: int = 0
    offsets: list[np.ndarray] = field(default_factory=list)
    counts: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.compression = compression_of(self.path)

    def add(self, lengths: np.ndarray, decoded_bytes: int) -> None:
        """Adds consecutive records.

        Args:
            lengths: Lengths of their contents, ``[records]``.
            decoded_bytes: Size of the decoded examples.
        """
        self.decoded_bytes += decoded_bytes
        ends = self.position + np.cumsum(lengths.astype(np.int64) + FRAME_BYTES)
        starts = np.concatenate([[self.position], ends[:-1]])
        first = _first_in_each(starts, _RUN_BYTES)
        self.offsets.append(starts[first])
        self.counts.append(np.diff(first, append=len(lengths)))
        self.position = int(ends[-1])

    def build(self) -> FileIndex:
        """Returns the index, after comparing its length with that of the file."""
        # TensorFlow mistakes some truncations, in a header or a gzip stream, for the file's end.
        if (self.position - contents_bytes(self.path, self.compression)) % (1 << 32):
            raise tf.errors.DataLossError(None, None, f"{self.path} ends before its last record")
        empty = np.empty(0, np.int64)
        index = FileIndex(
            self.path,
            self.compression,
            np.concatenate([empty, *self.offsets]),
            np.concatenate([empty, *self.counts]),
            self.position,
            self.decoded_bytes,
        )
        # The size of the chunks depends on the machine; the order of the examples must not.
        return index.merged(_RUN_BYTES)


def _decoded_bytes(batch: Any) -> int:
    """Returns the memory of a parsed batch in bytes."""
    return sum(int(tensor_bytes(each)) for each in tf.nest.flatten(batch, expand_composites=True))


def _first_in_each(offsets: np.ndarray, size: int) -> np.ndarray:
    """Returns the indices of the first offset in each aligned interval of ``size`` bytes."""
    intervals = offsets // size
    return np.flatnonzero(np.diff(intervals, prepend=-1))


def _files_dataset(builders: Sequence[_IndexBuilder]) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(
        (
            tf.range(len(builders)),
            [builder.path for builder in builders],
            [builder.compression for builder in builders],
        )
    )


def _zero(tensor: tf.Tensor) -> tf.Tensor:
    """Returns 0, computed from a tensor, int32 ``[]``."""
    last = tf.reshape(tensor[-1:], [-1])
    return tf.size(tf.where(tf.not_equal(last, last))[:, 0]) * 0


def _sampled_length(builders: Sequence[_IndexBuilder]) -> int:
    """Returns the length of the longest among the first records of some of the files."""
    step = -(-len(builders) // _SAMPLE_FILES)
    some = builders[::step] if builders else ()
    records = (open_records(file.path, file.compression).take(_SAMPLE) for file in some)
    lengths = (len(record.numpy()) for record in itertools.chain.from_iterable(records))
    return max(lengths, default=1)
