"""What every kind of source offers, and what its reader yields."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from tfx_feeder.components.image_example_gen.rejections import Rejection


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image that is a file of its own; its bytes pass through unchanged.

    Args:
        path: Where it is.
        label: Class name or index.
        features: Further columns.
    """

    path: str
    label: int | str
    features: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """Consecutive images out of an archive.

    Args:
        path: The archive.
        start: Position of the first image in it.
        pixels: uint8 ``[n, height, width, channels]``.
        labels: ``[n]`` class names or indices.
        features: Further columns, each ``[n, ...]``.
    """

    path: str
    start: int
    pixels: np.ndarray
    labels: np.ndarray
    features: Mapping[str, np.ndarray] = field(default_factory=dict)


Item = ImageFile | ImageBatch | Rejection


class Source(Protocol):
    """A data set on disk. It holds names, never images, and can be pickled."""

    def class_names(self) -> tuple[str, ...]:
        """Returns the class names that the data itself tells, in index order."""
        ...

    def files(self) -> Iterator[str]:
        """Yields every file that the examples depend on."""
        ...

    def chunks(self) -> Iterator[Any]:
        """Yields small references that can be read independently of each other."""
        ...

    def read(self, chunk: Any) -> Iterator[Item]:
        """Reads one of the chunks, holding a slice of it in memory at a time."""
        ...
