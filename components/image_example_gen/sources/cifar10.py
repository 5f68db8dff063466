"""The CIFAR-10 batches, in the binary and in the Python version."""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen.files import Match
from tfx_feeder.components.image_example_gen.rejections import Rejection
from tfx_feeder.components.image_example_gen.sources.base import ImageBatch, Item
from tfx_feeder.components.image_example_gen.sources.cifar10_pickle import (
    LayoutError,
    parse_batch,
    parse_label_names,
)
from tfx_feeder.components.image_example_gen.storage import (
    READ_ERRORS,
    TooLargeError,
    cause_of,
    open_file,
    read_file,
)

NAME = re.compile(r"(?:data_batch_\d+|test_batch)(?:\.bin)?")
CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
_RECORD = np.dtype([("label", "u1"), ("pixels", "u1", (3, 32, 32))])
_RECORDS_PER_SLICE = 256
_RECORDS_PER_PICKLE = 10_000
_MOST_PICKLE_BYTES = 64 << 20
_META = "batches.meta"


@dataclass(frozen=True, slots=True)
class Cifar10:
    """Batches of 32x32 color images in ten classes.

    Args:
        batches: Paths of the files; binary if they end in ``.bin``, Python pickles otherwise.
        meta: File of the class names of the Python version; None for the names that it has.
    """

    batches: tuple[str, ...]
    meta: str | None = None

    @classmethod
    def open(cls, location: Match, split: str | None = None) -> "Cifar10":
        """Selects the batches among the matched files.

        Args:
            location: Files that the pattern matched.
            split: Not used; the pattern distinguishes training from test files.

        Raises:
            DataError: No file is a batch, or both versions of one are there.
        """
        named = [path for path in location.files if NAME.fullmatch(posixpath.basename(path))]
        if not named:
            raise DataError(f"{location.root}: no file named data_batch_* or test_batch.")
        if twice := [path for path in named if f"{path}.bin" in named]:
            raise DataError(f"{twice[0]}: the same batch is there in the binary version.")
        meta = [path for path in location.files if posixpath.basename(path) == _META]
        return cls(tuple(named), meta[0] if meta else None)

    def class_names(self) -> tuple[str, ...]:
        """Returns the class names.

        Raises:
            DataError: The file of the class names is damaged.
        """
        if self.meta is None:
            return CLASSES
        try:
            return parse_label_names(read_file(self.meta, _MOST_PICKLE_BYTES))
        except (LayoutError, TooLargeError) as error:
            raise DataError(f"{self.meta}: not the class names of CIFAR-10: {error}") from error
        except READ_ERRORS as error:
            raise DataError(f"{self.meta}: cannot be read: {cause_of(error)}") from error

    def files(self) -> Iterator[str]:
        """Yields the batches and the file of the class names."""
        yield from self.batches
        if self.meta is not None:
            yield self.meta

    def chunks(self) -> Iterator[str]:
        """Yields the batches."""
        yield from self.batches

    def read(self, chunk: str) -> Iterator[Item]:
        """Yields the images of a batch in slices."""
        yield from _read_binary(chunk) if chunk.endswith(".bin") else _read_pickle(chunk)


def _read_binary(path: str) -> Iterator[Item]:
    start = 0
    try:
        with open_file(path) as file:
            while data := file.read(_RECORDS_PER_SLICE * _RECORD.itemsize):
                records = np.frombuffer(data, _RECORD, len(data) // _RECORD.itemsize)
                if len(records):
                    yield _batch(path, start, records["pixels"], records["label"])
                start += len(records)
                if rest := len(data) % _RECORD.itemsize:
                    cause = f"{_RECORD.itemsize - rest} bytes are missing at the end"
                    yield Rejection(path, "truncated_archive", cause, start)
    except READ_ERRORS as error:
        yield Rejection(path, "unreadable_file", cause_of(error), start)


def _read_pickle(path: str) -> Iterator[Item]:
    try:
        pixels, labels = parse_batch(read_file(path, _MOST_PICKLE_BYTES))
    except (LayoutError, TooLargeError) as error:
        cause = f"not a complete batch: {error}"
        yield Rejection(path, "truncated_archive", cause, 0, _RECORDS_PER_PICKLE)
        return
    except READ_ERRORS as error:
        yield Rejection(path, "unreadable_file", cause_of(error), 0, _RECORDS_PER_PICKLE)
        return
    for start in range(0, len(pixels), _RECORDS_PER_SLICE):
        part = slice(start, start + _RECORDS_PER_SLICE)
        yield _batch(path, start, pixels[part], labels[part])


def _batch(path: str, start: int, planes: np.ndarray, labels: np.ndarray) -> ImageBatch:
    return ImageBatch(path, start, planes.transpose(0, 2, 3, 1), labels)
