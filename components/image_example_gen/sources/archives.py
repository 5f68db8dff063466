"""Images and labels as parallel arrays."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen.classes import class_names_from_labels, merge_names
from tfx_feeder.components.image_example_gen.examples import RESERVED
from tfx_feeder.components.image_example_gen.rejections import Rejection
from tfx_feeder.components.image_example_gen.sources.array_stream import ArrayFile
from tfx_feeder.components.image_example_gen.sources.base import ImageBatch, Item

_SLICE_BYTES = 4 << 20
_MOST_ROWS = 256
_LABELS_PER_SLICE = 65_536


@dataclass(frozen=True, slots=True)
class ImageArrays:
    """Parallel arrays of equal length.

    Args:
        images: uint8 ``[n, height, width]`` or ``[n, height, width, channels]``.
        labels: Integers or text, ``[n]`` or ``[n, 1]``.
        features: Additional columns, ``[n, ...]`` each.

    Raises:
        DataError: The lengths differ, or an array has an unsupported type.
    """

    images: ArrayFile
    labels: ArrayFile
    features: Mapping[str, ArrayFile] = field(default_factory=dict)

    def __post_init__(self) -> None:
        images, labels = self.images.open(), self.labels.open()
        pixels = len(images.shape) == 3 or (len(images.shape) == 4 and 1 <= images.shape[3] <= 4)
        if images.dtype != np.uint8 or not pixels or 0 in images.shape[1:]:
            raise DataError(
                f"{self.images}: expected uint8 pixels [n, height, width] or [n, height, width, "
                f"channels], 1 to 4 channels. Received: {images.dtype} {list(images.shape)}."
            )
        flat = len(labels.shape) == 1 or labels.shape[1:] == (1,)
        if labels.dtype.kind not in "iuUS" or not flat or labels.shape[0] != images.shape[0]:
            raise DataError(
                f"{self.labels}: expected {images.shape[0]} labels, integers or text, one per "
                f"image. Received: {labels.dtype} {list(labels.shape)}."
            )
        if taken := RESERVED & set(self.features):
            raise DataError(f"{self.images.path}: the array {min(taken)!r} needs another name.")
        for member in self.features.values():
            stream = member.open()
            if stream.dtype.kind not in "biufUS" or stream.shape[0] != images.shape[0]:
                raise DataError(
                    f"{member}: expected {images.shape[0]} rows of numbers or text. "
                    f"Received: {stream.dtype} {list(stream.shape)}."
                )


@dataclass(frozen=True, slots=True)
class ArrayArchives:
    """Archives of arrays; each archive is a chunk and is read in slices of a few megabytes.

    Args:
        archives: Archives with the same columns.
    """

    archives: tuple[ImageArrays, ...]

    def class_names(self) -> tuple[str, ...]:
        """Returns the class names found in the labels."""
        return merge_names(
            [class_names_from_labels(_distinct(archive.labels)) for archive in self.archives]
        )

    def files(self) -> Iterator[str]:
        """Yields the files of the arrays."""
        members = (
            member
            for archive in self.archives
            for member in (archive.images, archive.labels, *archive.features.values())
        )
        yield from dict.fromkeys(member.path for member in members)

    def chunks(self) -> Iterator[ImageArrays]:
        """Yields the archives."""
        yield from self.archives

    def read(self, chunk: ImageArrays) -> Iterator[Item]:
        """Yields the images slice by slice; rejects the missing part of a damaged archive."""
        members = (chunk.images, chunk.labels, *chunk.features.values())
        streams = [member.open() for member in members]
        total = streams[0].shape[0]
        step = min(_MOST_ROWS, max(1, _SLICE_BYTES // math.prod(streams[0].shape[1:])))
        start = 0
        while start < total:
            count = min(step, total - start)
            slices = [stream.rows(count) for stream in streams]
            whole = min(map(len, slices))
            pixels, marks, *rest = (rows[:whole] for rows in slices)
            if whole:
                yield ImageBatch(
                    path=chunk.images.path,
                    start=start,
                    pixels=pixels if pixels.ndim == 4 else pixels[..., np.newaxis],
                    labels=_as_labels(marks),
                    features=dict(zip(chunk.features, rest, strict=True)),
                )
            start += whole
            if whole < count:
                damaged, damage = next(
                    (member.path, stream.damage)
                    for member, stream in zip(members, streams, strict=True)
                    if stream.damage
                )
                yield Rejection(damaged, "truncated_archive", damage, start, total - start)
                return


def _distinct(member: ArrayFile) -> set[int | str]:
    stream = member.open()
    found: set[int | str] = set()
    for start in range(0, stream.shape[0], _LABELS_PER_SLICE):
        rows = stream.rows(min(_LABELS_PER_SLICE, stream.shape[0] - start))
        found.update(np.unique(_as_labels(rows)).tolist())
    return found


def _as_labels(rows: np.ndarray) -> np.ndarray:
    flat = rows.reshape(-1)
    return np.char.decode(flat, "utf-8", "replace") if flat.dtype.kind == "S" else flat
