"""CSV files that list images: path, label, and additional columns."""

import csv
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

import tensorflow as tf

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen.classes import class_names_from_labels
from tfx_feeder.components.image_example_gen.examples import RESERVED
from tfx_feeder.components.image_example_gen.files import Match
from tfx_feeder.components.image_example_gen.rejections import Rejection
from tfx_feeder.components.image_example_gen.sources.base import ImageFile, Item

_ROWS_PER_CHUNK = 64
# From the narrowest to the widest: a column has the first type that parses all its values.
_TYPES = (int, float, str)

Row = tuple[int, list[str]]
Chunk = tuple[str, list[str], list[Row]]


@dataclass(frozen=True, slots=True)
class Manifest:
    """CSV files with the columns ``path`` and ``label``.

    Args:
        tables: Paths of the files.
        names: Class names found in the files.
        types: Type of each additional column, as an index into int, float, text.
    """

    tables: tuple[str, ...]
    names: tuple[str, ...]
    types: Mapping[str, int]

    @classmethod
    def open(cls, location: Match, split: str | None = None) -> "Manifest":
        """Reads the classes and the column types of the files.

        Args:
            location: Files that the pattern matched.
            split: Not used.

        Raises:
            DataError: A required column is missing, or a file is not UTF-8 text.
        """
        tables = tuple(path for path in location.files if path.endswith(".csv"))
        if not tables:
            raise DataError(f"{location.root}: no .csv file.")
        labels: set[str] = set()
        types: dict[str, int] = {}
        for table in tables:
            for _, header, rows in _chunks(table):
                for _, row in rows:
                    if len(row) != len(header):
                        continue
                    values = dict(zip(header, row, strict=True))
                    labels.add(values.pop("label"))
                    del values["path"]
                    for name, value in values.items():
                        types[name] = _widen(types.get(name, 0), value)
        return cls(tables, class_names_from_labels(labels - {""}), types)

    def class_names(self) -> tuple[str, ...]:
        """Returns the class names found in the labels."""
        return self.names

    def files(self) -> Iterator[str]:
        """Yields the CSV files and every image that they list."""
        for table in self.tables:
            yield table
            for chunk in _chunks(table):
                yield from (item.path for item in self.read(chunk) if isinstance(item, ImageFile))

    def chunks(self) -> Iterator[Chunk]:
        """Yields chunks of a few dozen rows."""
        for table in self.tables:
            yield from _chunks(table)

    def read(self, chunk: Chunk) -> Iterator[Item]:
        """Yields the images of the rows; empty cells yield no feature."""
        table, header, rows = chunk
        for index, row in rows:
            if len(row) != len(header):
                cause = f"{len(row)} cells, {len(header)} columns"
                yield Rejection(table, "malformed_row", cause, index)
                continue
            values = dict(zip(header, row, strict=True))
            path, label = values.pop("path"), values.pop("label")
            if not path or not label:
                cause = "no path" if label else "no label"
                yield Rejection(table, "malformed_row", cause, index)
                continue
            features = {
                name: _TYPES[self.types[name]](value) for name, value in values.items() if value
            }
            yield ImageFile(posixpath.join(posixpath.dirname(table), path), label, features)


def align(manifests: Mapping[str, Manifest]) -> dict[str, Manifest]:
    """Widens each column to the same type in all splits.

    Args:
        manifests: Manifests by split.

    Returns:
        Manifests by split, with common column types.
    """
    types: dict[str, int] = {}
    for manifest in manifests.values():
        for name, kind in manifest.types.items():
            types[name] = max(kind, types.get(name, 0))
    return {split: replace(manifest, types=types) for split, manifest in manifests.items()}


def has_header(path: str) -> bool:
    """Returns True if a CSV file has the columns of a manifest."""
    try:
        with tf.io.gfile.GFile(path) as lines:
            return {"path", "label"} <= set(_header(next(csv.reader(lines), [])))
    except (UnicodeDecodeError, csv.Error):
        return False


def _header(cells: list[str]) -> list[str]:
    return [cell.removeprefix("\ufeff").strip() for cell in cells]


def _chunks(table: str) -> Iterator[Chunk]:
    try:
        with tf.io.gfile.GFile(table) as lines:
            reader = csv.reader(lines)
            header = _header(next(reader, []))
            if missing := {"path", "label"} - set(header):
                raise DataError(
                    f"{table}: no column {min(missing)!r}. Found: {', '.join(header) or 'nothing'}."
                )
            if taken := (RESERVED - {"label"}) & set(header):
                raise DataError(f"{table}: the column {min(taken)!r} needs another name.")
            rows = ((index, row) for index, row in enumerate(reader) if row)
            while some := list(islice(rows, _ROWS_PER_CHUNK)):
                yield table, header, some
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a CSV file in UTF-8: {error}") from error


def _widen(kind: int, value: str) -> int:
    while value and not _fits(_TYPES[kind], value):
        kind += 1
    return kind


def _fits(kind: type, value: str) -> bool:
    try:
        number = kind(value)
    except ValueError:
        return False
    return kind is not int or -(2**63) <= number < 2**63
