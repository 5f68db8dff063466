"""Which files a pattern names, local or remote, and how a change in them is noticed."""

import hashlib
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import tensorflow as tf

from tfx_feeder.common.errors import DataError

_WILDCARDS = frozenset("*?[")
_LITTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


def is_hidden(path: str) -> bool:
    """Tells whether a path is what file managers leave behind, such as ``.DS_Store``."""
    name = posixpath.basename(path.rstrip("/"))
    return name.startswith(".") or name.lower() in _LITTER


@dataclass(frozen=True, slots=True)
class Match:
    """What one input pattern matched.

    Args:
        root: The folder above the first wildcard of the pattern; class names and the paths of a
            manifest are relative to it.
        files: Matched files, sorted, hidden ones left out.
        folders: Matched folders, likewise.
    """

    root: str
    files: tuple[str, ...]
    folders: tuple[str, ...]

    def relative(self, path: str) -> str:
        """Returns ``path`` as seen from the root."""
        return path[len(self.root) :].lstrip("/")


def locate(base: str, pattern: str) -> Match:
    """Finds what ``pattern`` names under ``base``; a folder's name stands for its contents.

    Args:
        base: Local or remote folder.
        pattern: Glob pattern relative to it, spans and versions already filled in.

    Returns:
        The matches.

    Raises:
        DataError: Nothing matches.
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
    """Yields the visible files below ``folder``, folder by folder, each sorted."""
    for parent, _, names in tf.io.gfile.walk(folder):
        if any(is_hidden(part) for part in parent[len(folder) :].split("/") if part):
            continue
        for name in sorted(names):
            if not is_hidden(name):
                yield posixpath.join(parent, name)


def fingerprint(root: str, paths: Iterable[str]) -> str:
    """Digests names, sizes and times of modification, in any order.

    Unlike the sum of times that file-based ExampleGens keep, it changes when an image moves from
    one class folder to another.

    Args:
        root: Names are relative to it, so that a copy elsewhere has the same fingerprint.
        paths: The files; missing ones count as missing.

    Returns:
        The number of files and 16 hexadecimal digits.
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
