"""Files below a local folder: each folder once, links only where nothing else leads."""

import errno
import os
import posixpath
import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen.rejections import Rejection

WILDCARDS = frozenset("*?[")
_LITTER = frozenset({"thumbs.db", "desktop.ini", "__macosx", "lost+found"})


def is_hidden(path: str) -> bool:
    """Returns True for hidden files and file-manager litter such as ``.DS_Store``."""
    name = posixpath.basename(path.rstrip("/"))
    return name.startswith(".") or name.lower() in _LITTER


def is_below(path: str, folder: str) -> bool:
    """Returns True if a path is a folder or lies below it.

    Args:
        path: Absolute path without links.
        folder: Absolute path without links.
    """
    return path == folder or path.startswith(folder.rstrip("/") + "/")


class FolderTree:
    """Walk through a folder that reads nothing twice.

    A symbolic link is followed if it leads to files that the walk does not reach otherwise. A link
    within the folder would yield its target under a second label, or never end.

    Args:
        base: Folder that links must not lead out of.
        root: Folder in which everything visible is read.
        allow_outside: If True, links may lead out of ``base``.
    """

    def __init__(self, base: str, root: str, allow_outside: bool) -> None:
        self._base, self._root = os.path.realpath(base), os.path.realpath(root)
        self._allow_outside = allow_outside
        self._visited: set[tuple[int, int]] = set()

    def matches(self, folder: str, parts: list[str]) -> Iterator[str | Rejection]:
        """Yields the files and folders that match a pattern, sorted, without hidden ones.

        Args:
            folder: Folder in which the pattern begins; its own name is no pattern.
            parts: Components of the pattern. Links that a component names are followed.
        """
        head, *rest = parts
        if WILDCARDS.intersection(head):
            names = sorted(
                name
                for name in os.listdir(folder)
                if fnmatchcase(name, head) and not is_hidden(name)
            )
        else:
            names = [head]
        for name in names:
            path = posixpath.join(folder, name)
            try:
                mode = os.lstat(path).st_mode
            except OSError:
                continue
            named = not WILDCARDS.intersection(head)
            if stat.S_ISLNK(mode) and not named and (passed := self._judge(path)):
                yield passed
            elif rest:
                if os.path.isdir(path):
                    yield from self.matches(path, rest)
            elif os.path.isdir(path) or os.path.isfile(path):
                yield path
            else:
                yield _not_a_file(path)

    def walk(self, folder: str) -> Iterator[str | Rejection]:
        """Yields the visible files below a folder, sorted in each folder, and what was left out.

        Raises:
            DataError: A folder cannot be read, so that the number of its images is unknown.
        """
        left = [folder]
        while left:
            here = left.pop()
            try:
                status = os.stat(here)
                entries = sorted(os.scandir(here), key=lambda entry: entry.name)
            except OSError as error:
                raise DataError(f"{here}: cannot be read: {error.strerror or error}.") from error
            if (status.st_dev, status.st_ino) in self._visited:
                yield Rejection(here, "link", "the same folder as one that is read elsewhere")
                continue
            self._visited.add((status.st_dev, status.st_ino))
            folders = []
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                path = posixpath.join(here, entry.name)
                if entry.is_symlink() and (passed := self._judge(path)):
                    yield passed
                elif entry.is_dir():
                    folders.append(path)
                elif entry.is_file():
                    yield path
                else:
                    yield _not_a_file(path)
            left += reversed(folders)

    def _judge(self, link: str) -> Rejection | None:
        """Returns None if a link is followed, else the reason why it is not."""
        try:
            target = os.path.realpath(link, strict=True)
            status = os.stat(target)
        except OSError as error:
            if error.errno == errno.ELOOP:
                return Rejection(link, "link", "a link that leads to itself")
            return Rejection(link, "missing_file", "a link that leads nowhere")
        if is_below(self._root, target):
            return Rejection(link, "link", f"leads to {target}, which contains it")
        inside = is_below(target, self._root)
        if inside and not any(map(is_hidden, target[len(self._root) :].split("/"))):
            return Rejection(link, "link", f"leads to {target}, which is read where it lies")
        if not (inside or is_below(target, self._base) or self._allow_outside):
            cause = f"leads out of the folder to {target}; allow_outside=True reads it"
            return Rejection(link, "outside_folder", cause)
        if not stat.S_ISDIR(status.st_mode):
            if (status.st_dev, status.st_ino) in self._visited:
                return Rejection(link, "link", f"leads to {target}, as another link does")
            self._visited.add((status.st_dev, status.st_ino))
        return None


def _not_a_file(path: str) -> Rejection:
    return Rejection(path, "not_a_file", "a FIFO, socket or device")
