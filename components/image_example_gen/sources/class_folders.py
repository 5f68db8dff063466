"""Folder with one subfolder of PNG and JPEG files per class."""

import logging
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen import files
from tfx_feeder.components.image_example_gen.images import is_image_file
from tfx_feeder.components.image_example_gen.rejections import Rejection
from tfx_feeder.components.image_example_gen.sources.base import ImageFile, Item
from tfx_feeder.components.image_example_gen.storage import as_text

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
_OTHER_SUFFIXES = frozenset({".bmp", ".gif", ".heic", ".tif", ".tiff", ".webp"})
_PATHS_PER_CHUNK = 64
_LOGGER = logging.getLogger("tfx_feeder.image_example_gen")

# Beam encodes text as UTF-8, which names of files need not be.
Chunk = tuple[str, tuple[bytes, ...]] | Rejection


@dataclass(frozen=True, slots=True)
class ClassFolders:
    """Class folders. Their sorted names are the classes; images may be nested deeper.

    Args:
        location: Class folders, or files in them, that the pattern matched.
    """

    location: files.Match

    @classmethod
    def open(cls, location: files.Match, split: str | None = None) -> "ClassFolders":
        """Opens class folders.

        Args:
            location: Folders and files that the pattern matched.
            split: Not used.

        Raises:
            DataError: No file in any class folder is a PNG or JPEG file.
        """
        source = cls(location)
        if not any(source._class_of(path) and _is_image(path) for path in source.files()):
            passed = "".join(f" {item.path}: {item.cause}." for item in location.passed[:3])
            raise DataError(f"{location.root}: no PNG or JPEG file in any class folder.{passed}")
        return source

    def class_names(self) -> tuple[str, ...]:
        """Returns the sorted names of the class folders; warns of those without an image."""
        names = {self._class_of(path) for path in self.location.files}
        empty = set()
        for folder, found in self.location.walk():
            images = (path for path in found if isinstance(path, str) and _is_image(path))
            (empty if next(images, None) is None else names).add(self._class_of(f"{folder}/"))
        if empty := sorted(empty - names):
            _LOGGER.warning(
                "%s: no class, because they hold no PNG or JPEG file: %s",
                self.location.root,
                ", ".join(empty),
            )
        return tuple(sorted(names - {""}))

    def files(self) -> Iterator[str]:
        """Yields the visible files, images or not."""
        yield from self.location.files
        for _, found in self.location.walk():
            yield from (path for path in found if isinstance(path, str))

    def chunks(self) -> Iterator[Chunk]:
        """Yields chunks of a few dozen paths, as (class name, paths), and what is not read."""
        for path in self.location.files:
            yield self._class_of(path), (os.fsencode(path),)
        for folder, found in self.location.walk():
            label = self._class_of(f"{folder}/")
            while some := list(islice(found, _PATHS_PER_CHUNK)):
                yield from (item for item in some if isinstance(item, Rejection))
                if paths := tuple(os.fsencode(item) for item in some if isinstance(item, str)):
                    yield label, paths

    def read(self, chunk: Chunk) -> Iterator[Item]:
        """Yields the images of a chunk; rejects other files."""
        if isinstance(chunk, Rejection):
            yield chunk
            return
        label, paths = chunk
        for path in map(os.fsdecode, paths):
            suffix = _suffix(path)
            if suffix in _OTHER_SUFFIXES:
                cause = f"{suffix} file; PNG and JPEG are supported"
                yield Rejection(path, "unsupported_format", cause)
            elif not _is_image(path):
                cause = "not named .png, .jpg or .jpeg" if suffix else "neither PNG nor JPEG"
                yield Rejection(path, "not_an_image", cause)
            elif not label:
                yield Rejection(path, "no_class", "the image is not in a class folder")
            else:
                yield ImageFile(path, label)

    def _class_of(self, path: str) -> str:
        parts = self.location.relative(path).split("/")
        return as_text(parts[0]) if len(parts) > 1 else ""


def _is_image(path: str) -> bool:
    """Returns True if the suffix of a file is that of an image, or without one, its content is."""
    suffix = _suffix(path)
    return suffix in _SUFFIXES if suffix else is_image_file(path)


def _suffix(path: str) -> str:
    return posixpath.splitext(path)[1].lower()
