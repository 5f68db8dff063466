"""CSV files that list images: path, label, and additional columns."""

import contextlib
import csv
import io
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import tensorflow as tf

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen.classes import (
    add_labels,
    class_names_from_labels,
)
from tfx_feeder.components.image_example_gen.examples import RESERVED
from tfx_feeder.components.image_example_gen.files import Match
from tfx_feeder.components.image_example_gen.rejections import Rejection
from tfx_feeder.components.image_example_gen.sources.base import ImageFile, Item
from tfx_feeder.components.image_example_gen.storage import (
    READ_ERRORS,
    cause_of,
    is_local,
    open_file,
)

_ROWS_PER_CHUNK = 64
# From the narrowest to the widest: a column has the first type that parses all its values.
_TYPES = (int, float, str)
_MOST_LINE_CHARACTERS = 1 << 20
_MOST_COLUMNS = 10_000
_HEAD_BYTES = 65_536
_IMAGE_NAME = re.compile(r"\.(?:png|jpe?g)\b", re.IGNORECASE)
_PATH_HEADER = re.compile(r"path|file|filename|file_?name|image|image_?id|img", re.IGNORECASE)
_LABEL_HEADER = re.compile(r"label|class|class_?name|category|target", re.IGNORECASE)

Row = tuple[int, list[str]]
Chunk = tuple[str, list[str], list[Row]]


@dataclass(frozen=True, slots=True)
class Manifest:
    """CSV files with the columns ``path`` and ``label``.

    Args:
        tables: Paths of the files.
        names: Class names found in the files.
        types: Type of each additional column, as an index into int, float, text.
        location: Folder that the images must not lie outside of.
    """

    tables: tuple[str, ...]
    names: tuple[str, ...]
    types: Mapping[str, int]
    location: Match

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
                    add_labels(labels, [values.pop("label")], table)
                    del values["path"]
                    for name, value in values.items():
                        types[name] = _widen(types.get(name, 0), value)
        return cls(tables, class_names_from_labels(labels), types, location)

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
            if not path or not label or "\0" in path:
                cause = "no label" if path and not label else "no usable path"
                yield Rejection(table, "malformed_row", cause, index)
                continue
            path = posixpath.join(posixpath.dirname(table), path)
            if not self.location.contains(path):
                cause = "outside of the folder; allow_outside=True reads it"
                yield Rejection(path, "outside_folder", cause, index)
                continue
            features = {
                name: _TYPES[self.types[name]](value) for name, value in values.items() if value
            }
            yield ImageFile(path, label, features)


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
    with contextlib.suppress(UnicodeDecodeError, csv.Error, *READ_ERRORS), _text(path) as file:
        return {"path", "label"} <= set(_header(next(csv.reader(_lines(file)), [])))
    return False


def lists_images(path: str) -> bool:
    """Returns True if a CSV file without the columns of a manifest looks as if meant as one."""
    try:
        with open_file(path) as file:
            head = file.read(_HEAD_BYTES)
    except READ_ERRORS:
        return False
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    text = head.decode(encoding, "replace")
    header = re.split(r"[,;\t|]", text.partition("\n")[0].strip())
    names = [name.strip('\ufeff" ') for name in header]
    named = all(any(map(kind.fullmatch, names)) for kind in (_PATH_HEADER, _LABEL_HEADER))
    return named or bool(_IMAGE_NAME.search(text))


def _header(cells: list[str]) -> list[str]:
    return [cell.removeprefix("\ufeff").strip() for cell in cells]


def _text(path: str) -> Any:
    if not is_local(path):
        return tf.io.gfile.GFile(path)
    return io.TextIOWrapper(open_file(path), encoding="utf-8", newline="")


def _lines(file: Any) -> Iterator[str]:
    if not isinstance(file, io.TextIOWrapper):
        yield from file
        return
    while line := file.readline(_MOST_LINE_CHARACTERS):
        if len(line) == _MOST_LINE_CHARACTERS:
            raise csv.Error(f"a line has {_MOST_LINE_CHARACTERS:,} characters or more")
        yield line


def _chunks(table: str) -> Iterator[Chunk]:
    try:
        with _text(table) as file:
            reader = csv.reader(_lines(file))
            header = _header(next(reader, []))
            if missing := {"path", "label"} - set(header):
                raise DataError(
                    f"{table}: no column {min(missing)!r}. Found: {', '.join(header) or 'nothing'}."
                )
            if taken := (RESERVED - {"label"}) & set(header):
                raise DataError(f"{table}: the column {min(taken)!r} needs another name.")
            if len(header) > _MOST_COLUMNS:
                raise csv.Error(f"{len(header):,} columns; at most {_MOST_COLUMNS:,} are read")
            if twice := [name for name, count in Counter(header).items() if count > 1]:
                raise DataError(f"{table}: the column {min(twice)!r} occurs more than once.")
            rows = ((index, row) for index, row in enumerate(reader) if row)
            while some := list(islice(rows, _ROWS_PER_CHUNK)):
                yield table, header, some
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a CSV file in UTF-8: {error}") from error
    except READ_ERRORS as error:
        raise DataError(f"{table}: cannot be read: {cause_of(error)}") from error


def _widen(kind: int, value: str) -> int:
    while value and not _fits(_TYPES[kind], value):
        kind += 1
    return kind


def _fits(kind: type, value: str) -> bool:
    if kind is not str and "_" in value:  # An identifier, which Python takes for a number.
        return False
    try:
        number = kind(value)
    except ValueError:
        return False
    return kind is not int or -(2**63) <= number < 2**63
