"""Source with a list of what lies beside it and is not read."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tfx_feeder.components.image_example_gen.files import Match
from tfx_feeder.components.image_example_gen.rejections import Rejection
from tfx_feeder.components.image_example_gen.sources.base import Item, Source
from tfx_feeder.components.image_example_gen.storage import as_text

_FOLDERS_ARE_READ = ("class_folders", "manifest")
_NAMED = 5


@dataclass(frozen=True, slots=True)
class ListingSource:
    """Source that also yields what it passes over as rejections, which do not count.

    Args:
        source: Data set.
        kind: Format of the data set.
        location: Everything that the pattern matched.
    """

    source: Source
    kind: str
    location: Match

    def class_names(self) -> tuple[str, ...]:
        """Returns the class names found in the data, in index order."""
        return self.source.class_names()

    def files(self) -> Iterator[str]:
        """Yields every file that the examples depend on."""
        return self.source.files()

    def chunks(self) -> Iterator[Any]:
        """Yields what is passed over, then the references of the source."""
        yield from self.passed_over()
        yield from self.source.chunks()

    def read(self, chunk: Any) -> Iterator[Item]:
        """Reads a chunk, one slice in memory at a time."""
        if isinstance(chunk, Rejection):
            return iter((chunk,))
        return self.source.read(chunk)

    def passed_over(self) -> Iterator[Rejection]:
        """Yields the matches that are not read; those of class folders list files themselves."""
        yield from self.location.passed
        if self.kind == "class_folders":
            return
        left = dict.fromkeys(self.location.files)
        for path in self.source.files() if left else ():
            left.pop(path, None)
            if not left:
                break
        folders = () if self.kind in _FOLDERS_ARE_READ else self.location.folders
        for path in (*left, *folders):
            yield Rejection(path, "passed_over", f"not part of the source, which is {self.kind}")

    def describe(self) -> str:
        """Returns the format, and names what is passed over."""
        passed = self.passed_over()
        names = [as_text(self.location.relative(item.path)) for item in islice(passed, _NAMED)]
        more = ", …" if next(passed, None) else ""
        return f"{self.kind}, passing over {', '.join(names)}{more}" if names else self.kind
