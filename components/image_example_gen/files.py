"""Glob patterns and fingerprints of local and remote files."""

import hashlib
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import tensorflow as tf

from tfx_feeder.common.errors import DataError

_WILDCARDS = frozenset("*?[")
_LITTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


def is_hidden(path: str) -> bool:
    """Returns True for hidden files and file-manager litter such as ``.DS_Store``."""
    name = posixpath.basename(path.rstrip("/"))
    return name.startswith(".") or name.lower() in _LITTER


@dataclass(frozen=True, slots=True)
class Match:
    """Files and folders that an input pattern matches.

    Args:
        root: Folder above the first wildcard of the pattern; class names and the paths in a
            manifest are relative to it.
        files: Matched files, sorted, without hidden ones.
        folders: Matched folders, sorted, without hidden ones.
    """

    root: str
    files: tuple[str, ...]
    folders: tuple[str, ...]

    def relative(self, path: str) -> str:
        """Returns ``path`` relative to the root."""
        return path[len(self.root) :].lstrip("/")


def locate(base: str, pattern: str) -> Match:
    """Resolves a pattern below a folder; the name of a folder matches its contents.

    Args:
        base: Local or remote folder.
        pattern: Glob pattern relative to ``base``, with span and version filled in.

    Returns:
        Matched files and folders.

    Raises:
        DataError: Nothing matches the pattern.
    """
    gfile = tf.io.gfile
    whole = posixpath.join(base, pattern) if pattern else base
    if not _WILDCARDS.intersection(pattern) and gfile.isdir(whole):
        root = whole.rstrip("/")
        found = [posixpath.join(root, name.rstrip("/")) for name in gfile.listdir(root)]
    else:
        root = base.rstrip("/")
        for part in pattern.split("/")[:-1]:
            if _WILDCARDS.intersection(part):
                break
            root = posixpath.join(root, part)
        found = [path.rstrip("/") for path in gfile.glob(whole)]
    visible = sorted(path for path in found if not is_hidden(path))
    if not visible:
        raise DataError(f"{whole}: no file matches; the folder is empty or does not exist.")
    folders = tuple(path for path in visible if gfile.isdir(path))
    inside = set(folders)
    return Match(root, tuple(path for path in visible if path not in inside), folders)


def walk(folder: str) -> Iterator[str]:
    """Yields the visible files below ``folder``, sorted within each folder."""
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
            stat = tf.io.gfile.stat(path)
            state = f"{path.removeprefix(root)}|{stat.length}|{int(stat.mtime_nsec)}"
        except tf.errors.OpError:
            state = f"{path.removeprefix(root)}|missing"
        total += int.from_bytes(hashlib.sha256(state.encode()).digest()[:8], "big")
        count += 1
    return f"{count}:{total % 2**64:016x}"
