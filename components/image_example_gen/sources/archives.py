"""Images and labels as parallel arrays."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen.classes import (
    add_labels,
    class_names_from_labels,
    merge_names,
)
from tfx_feeder.components.image_example_gen.examples import RESERVED
from tfx_feeder.components.image_example_gen.rejections import Rejection
from tfx_feeder.components.image_example_gen.sources.array_stream import (
    ArrayFile,
    ArrayStream,
)
from tfx_feeder.components.image_example_gen.sources.base import ImageBatch, Item

_SLICE_BYTES = 4 << 20
_MOST_ROWS = 256
_LABELS_PER_SLICE = 65_536
_LARGEST_NUMBER_BYTES = 8


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
            if not _is_column(stream.dtype) or stream.shape[0] != images.shape[0]:
                raise DataError(
                    f"{member}: expected {images.shape[0]} rows of numbers or text. "
                    f"Received: {stream.dtype} {list(stream.shape)}."
                )


@dataclass(frozen=True, slots=True)
class ArrayArchives:
    """Archives of arrays; each archive is a chunk and is read in slices of a few megabytes.

    Check sums are compared before the first row: a damaged array is rejected as a whole, because
    nothing tells which of its rows are damaged.

    Args:
        archives: Archives with the same columns.
    """

    archives: tuple[ImageArrays, ...]

    def class_names(self) -> tuple[str, ...]:
        """Returns the class names found in the labels of undamaged archives.

        Raises:
            DataError: The labels of all archives are damaged, or cannot be class names.
        """
        damaged = [archive.labels.find_damage() for archive in self.archives]
        if all(damaged):
            raise DataError(f"{self.archives[0].labels}: damaged: {damaged[0]}")
        return merge_names(
            [
                class_names_from_labels(_distinct(archive.labels))
                for archive, damage in zip(self.archives, damaged, strict=True)
                if not damage
            ]
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
        """Yields the images slice by slice; rejects what is missing or damaged."""
        members = (chunk.images, chunk.labels, *chunk.features.values())
        streams = [member.open() for member in members]
        total = streams[0].shape[0]
        for member in members:
            if damage := member.find_damage():
                yield Rejection(member.path, "corrupt_archive", f"{member}: {damage}", 0, total)
                return
        step = _rows_per_slice(*streams)
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
                    labels=_as_text(marks.reshape(-1), chunk.labels),
                    features={
                        name: _as_text(rows, member) if rows.dtype.kind == "U" else rows
                        for (name, member), rows in zip(chunk.features.items(), rest, strict=True)
                    },
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


def _is_column(dtype: np.dtype) -> bool:
    if dtype.kind in "US":
        return True
    return dtype.kind in "biuf" and dtype.itemsize <= _LARGEST_NUMBER_BYTES


def _rows_per_slice(*streams: ArrayStream) -> int:
    largest = max(stream.row_bytes for stream in streams)
    return min(_MOST_ROWS, max(1, _SLICE_BYTES // max(1, largest)))


def _distinct(member: ArrayFile) -> set[int | str]:
    stream = member.open()
    found: set[int | str] = set()
    step = max(1, min(_LABELS_PER_SLICE, _SLICE_BYTES // stream.row_bytes))
    for start in range(0, stream.shape[0], step):
        rows = stream.rows(min(step, stream.shape[0] - start))
        add_labels(found, np.unique(_as_text(rows.reshape(-1), member)).tolist(), member)
        if stream.damage:
            break
    return found


def _as_text(rows: np.ndarray, member: ArrayFile) -> np.ndarray:
    """Returns numbers as they are, and text as valid Unicode."""
    if rows.dtype.kind not in "US":
        return rows
    try:
        encoded = rows if rows.dtype.kind == "S" else np.char.encode(rows, "utf-8", "replace")
        return np.char.decode(encoded, "utf-8", "replace")
    except ValueError as error:
        raise DataError(f"{member}: not text: {error}") from error
