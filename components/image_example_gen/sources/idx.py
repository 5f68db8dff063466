"""IDX files, the format of MNIST, optionally gzipped."""

import posixpath
import re

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen.files import Match
from tfx_feeder.components.image_example_gen.sources.archives import ArrayArchives, ImageArrays
from tfx_feeder.components.image_example_gen.sources.array_stream import ArrayFile

NAME = re.compile(r"(?P<set>.*?)-?(?P<part>images|labels)[-.]idx[134]-ubyte(?:\.gz)?")


def open_idx(location: Match, split: str | None = None) -> ArrayArchives:
    """Pairs ``*-images-idx3-ubyte`` with ``*-labels-idx1-ubyte``.

    Args:
        location: Files that the pattern matched; a plain file takes precedence over its gzipped
            copy.
        split: Not used; the pattern distinguishes ``train-*`` from ``t10k-*``.

    Raises:
        DataError: A file of a pair is missing or unreadable.
    """
    pairs: dict[str, dict[str, ArrayFile]] = {}
    for path in location.files:
        if match := NAME.fullmatch(posixpath.basename(path)):
            pairs.setdefault(match["set"], {}).setdefault(match["part"], ArrayFile(path))
    if not pairs:
        raise DataError(f"{location.root}: no file named like train-images-idx3-ubyte.")
    for name, pair in pairs.items():
        if missing := {"images", "labels"} - pair.keys():
            have = next(iter(pair.values()))
            raise DataError(f"{have}: the {min(missing)} of {name or 'this set'} are missing.")
    return ArrayArchives(tuple(ImageArrays(p["images"], p["labels"]) for p in pairs.values()))
