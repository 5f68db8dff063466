"""The CIFAR-10 batches, in the binary and in the Python version."""

import codecs
import io
import pickle
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen.files import Match
from tfx_feeder.components.image_example_gen.rejections import Rejection
from tfx_feeder.components.image_example_gen.sources.base import ImageBatch, Item

NAME = re.compile(r"(?:data_batch_\d+|test_batch)(?:\.bin)?")
CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
_RECORD = np.dtype([("label", "u1"), ("pixels", "u1", (3, 32, 32))])
_RECORDS_PER_SLICE = 256
_RECORDS_PER_PICKLE = 10_000
_RECONSTRUCT = np.empty(0).__reduce__()[0]  # Its module differs between NumPy 1 and 2.
# A pickle can call any function; these are the ones that NumPy arrays need.
_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of an array") from None


@dataclass(frozen=True, slots=True)
class Cifar10:
    """Batches of 32x32 color images in ten fixed classes.

    Args:
        batches: Paths of the files; binary if they end in ``.bin``, Python pickles otherwise.
    """

    batches: tuple[str, ...]

    @classmethod
    def open(cls, location: Match, split: str | None = None) -> "Cifar10":
        """Selects the batches among the matched files.

        Args:
            location: Files that the pattern matched.
            split: Not used; the pattern distinguishes training from test files.

        Raises:
            DataError: No file is a batch.
        """
        named = [path for path in location.files if NAME.fullmatch(posixpath.basename(path))]
        if not named:
            raise DataError(f"{location.root}: no file named data_batch_* or test_batch.")
        return cls(tuple(named))

    def class_names(self) -> tuple[str, ...]:
        """Returns the ten class names."""
        return CLASSES

    def files(self) -> Iterator[str]:
        """Yields the batches."""
        yield from self.batches

    def chunks(self) -> Iterator[str]:
        """Yields the batches."""
        yield from self.batches

    def read(self, chunk: str) -> Iterator[Item]:
        """Yields the images of a batch in slices."""
        yield from _read_binary(chunk) if chunk.endswith(".bin") else _read_pickle(chunk)


def _read_binary(path: str) -> Iterator[Item]:
    start = 0
    with tf.io.gfile.GFile(path, "rb") as file:
        while data := file.read(_RECORDS_PER_SLICE * _RECORD.itemsize):
            records = np.frombuffer(data, _RECORD, len(data) // _RECORD.itemsize)
            if len(records):
                yield _batch(path, start, records["pixels"], records["label"])
            start += len(records)
            if rest := len(data) % _RECORD.itemsize:
                cause = f"{_RECORD.itemsize - rest} bytes are missing at the end"
                yield Rejection(path, "truncated_archive", cause, start)


def _read_pickle(path: str) -> Iterator[Item]:
    with tf.io.gfile.GFile(path, "rb") as file:
        data = io.BytesIO(file.read())
    try:
        batch = _ArrayUnpickler(data, encoding="latin1").load()
        pixels = np.asarray(batch["data"], np.uint8).reshape(-1, 3, 32, 32)
        labels = np.asarray(batch["labels"], np.int64).reshape(len(pixels))
    except (pickle.UnpicklingError, EOFError, ValueError, LookupError, TypeError) as error:
        cause = f"not a complete batch: {error}"
        yield Rejection(path, "truncated_archive", cause, 0, _RECORDS_PER_PICKLE)
        return
    for start in range(0, len(pixels), _RECORDS_PER_SLICE):
        part = slice(start, start + _RECORDS_PER_SLICE)
        yield _batch(path, start, pixels[part], labels[part])


def _batch(path: str, start: int, planes: np.ndarray, labels: np.ndarray) -> ImageBatch:
    return ImageBatch(path, start, planes.transpose(0, 2, 3, 1), labels)
