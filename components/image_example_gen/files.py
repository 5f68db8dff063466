"""Glob patterns and fingerprints of local and remote files."""

import functools
import hashlib
import os
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import tensorflow as tf

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen.folder_tree import (
    WILDCARDS,
    FolderTree,
    is_below,
    is_hidden,
)
from tfx_feeder.components.image_example_gen.rejections import Rejection
from tfx_feeder.components.image_example_gen.storage import cause_of, is_folder, is_local


@dataclass(frozen=True, slots=True)
class Match:
    """Files and folders that an input pattern matches.

    Args:
        base: Folder that the pattern is relative to.
        root: Folder above the first wildcard of the pattern; class names and the paths in a
            manifest are relative to it.
        files: Matched files, sorted, without hidden ones.
        folders: Matched folders, sorted, without hidden ones.
        passed: Matches that are not read, such as links.
        allow_outside: If True, links and the paths in a manifest may lead out of ``base``.
    """

    base: str
    root: str
    files: tuple[str, ...]
    folders: tuple[str, ...]
    passed: tuple[Rejection, ...] = ()
    allow_outside: bool = False

    def relative(self, path: str) -> str:
        """Returns ``path`` relative to the root."""
        return path[len(self.root) :].lstrip("/")

    def walk(self) -> Iterator[tuple[str, Iterator[str | Rejection]]]:
        """Yields each matched folder with the files below it, and with what is not read."""
        tree = FolderTree(self.base, self.root, self.allow_outside)
        for folder in self.folders:
            yield folder, tree.walk(folder) if is_local(folder) else _walk_remote(folder)

    def contains(self, path: str) -> bool:
        """Returns False if a path or a link in it leads outside, unless that is allowed."""
        if self.allow_outside or not is_local(path):
            return True
        folder, name = posixpath.split(path)
        real = posixpath.join(_real(folder), name)
        if os.path.islink(real):
            real = os.path.realpath(real)
        return any(is_below(real, _real(folder)) for folder in (self.root, self.base))


def locate(base: str, pattern: str, *, allow_outside: bool = False) -> Match:
    """Resolves a pattern below a folder; the name of a folder matches its contents.

    Args:
        base: Local or remote folder.
        pattern: Glob pattern relative to ``base``, with span and version filled in.
        allow_outside: If True, links and the paths in a manifest may lead out of ``base``.

    Returns:
        Matched files and folders.

    Raises:
        DataError: Nothing matches the pattern, or the folder is unreadable.
    """
    parts = [part for part in pattern.split("/") if part]
    whole = posixpath.join(base, *parts)
    if not WILDCARDS.intersection(pattern) and is_folder(whole):
        parts.append("*")
    root = base.rstrip("/") or "/"
    for part in parts[:-1]:
        if WILDCARDS.intersection(part):
            break
        root = posixpath.join(root, part)
    passed: list[Rejection] = []
    if is_local(base):
        try:
            found = list(
                FolderTree(base, root, allow_outside).matches(base.rstrip("/") or "/", parts)
            )
        except OSError as error:
            raise DataError(f"{whole}: {cause_of(error)}.") from error
        passed = [item for item in found if isinstance(item, Rejection)]
        visible = sorted(item for item in found if isinstance(item, str))
    else:
        found = [path.rstrip("/") for path in tf.io.gfile.glob(posixpath.join(base, *parts))]
        visible = sorted(path for path in found if not is_hidden(path))
    if not visible:
        reasons = "".join(f" {item.path}: {item.cause}." for item in passed[:3])
        raise DataError(
            f"{whole}: no file matches; the folder is empty or does not exist.{reasons}"
        )
    folders = tuple(path for path in visible if is_folder(path))
    inside = set(folders)
    files = tuple(path for path in visible if path not in inside)
    return Match(base, root, files, folders, tuple(passed), allow_outside)


@functools.lru_cache(maxsize=1024)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _walk_remote(folder: str) -> Iterator[str | Rejection]:
    for parent, _, names in tf.io.gfile.walk(folder):
        if any(is_hidden(part) for part in parent[len(folder) :].split("/") if part):
            continue
        for name in sorted(names):
            if not is_hidden(name):
                yield posixpath.join(parent, name)


def fingerprint(root: str, paths: Iterable[str]) -> str:
    """Hashes names, sizes and modification times of files, in any order.

    Unlike the sum of modification times in file-based ExampleGens, the hash changes when an image
    moves from one class folder to another.

    Args:
        root: Folder that names are relative to, so that a copy has the same fingerprint.
        paths: Files; a missing file is hashed as missing.

    Returns:
        Number of files and 16 hexadecimal digits.
    """
    total = count = 0
    for path in paths:
        try:
            if is_local(path):
                status = os.stat(path)
                size, modified_ns = status.st_size, status.st_mtime_ns
            else:
                remote = tf.io.gfile.stat(path)
                size, modified_ns = remote.length, int(remote.mtime_nsec)
            state = f"{path.removeprefix(root)}|{size}|{modified_ns}"
        except (OSError, ValueError, tf.errors.OpError):
            state = f"{path.removeprefix(root)}|missing"
        encoded = state.encode("utf-8", "surrogateescape")
        total += int.from_bytes(hashlib.sha256(encoded).digest()[:8], "big")
        count += 1
    return f"{count}:{total % 2**64:016x}"
