"""Interface of a source, and the items it yields."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from tfx_feeder.components.image_example_gen.rejections import Rejection


@dataclass(frozen=True, slots=True)
class ImageFile:
    """Image in a file of its own; its bytes are passed through unchanged.

    Args:
        path: Path of the file.
        label: Class name or index.
        features: Additional columns.
    """

    path: str
    label: int | str
    features: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """Consecutive images of an archive.

    Args:
        path: Path of the archive.
        start: Position of the first image in the archive.
        pixels: uint8 ``[n, height, width, channels]``.
        labels: Class names or indices, ``[n]``.
        features: Additional columns, each ``[n, ...]``.
    """

    path: str
    start: int
    pixels: np.ndarray
    labels: np.ndarray
    features: Mapping[str, np.ndarray] = field(default_factory=dict)


Item = ImageFile | ImageBatch | Rejection


class Source(Protocol):
    """Data set on disk. A source holds paths, never images, and can be pickled."""

    def class_names(self) -> tuple[str, ...]:
        """Returns the class names found in the data, in index order."""
        ...

    def files(self) -> Iterator[str]:
        """Yields every file that the examples depend on."""
        ...

    def chunks(self) -> Iterator[Any]:
        """Yields small references that can be read independently."""
        ...

    def read(self, chunk: Any) -> Iterator[Item]:
        """Reads a chunk, one slice in memory at a time."""
        ...
