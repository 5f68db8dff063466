"""Sources of labeled images, and detection of their format."""

import logging
import posixpath
from collections.abc import Callable, Mapping
from typing import Any

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen.classes import ClassTable, merge_names
from tfx_feeder.components.image_example_gen.files import Match, locate
from tfx_feeder.components.image_example_gen.sources import cifar10, idx, manifest
from tfx_feeder.components.image_example_gen.sources.arrays import open_arrays
from tfx_feeder.components.image_example_gen.sources.base import Source
from tfx_feeder.components.image_example_gen.sources.class_folders import ClassFolders
from tfx_feeder.components.image_example_gen.sources.passed_over import ListingSource

_OPENERS: dict[str, Callable[[Match, str | None], Source]] = {
    "class_folders": ClassFolders.open,
    "manifest": manifest.Manifest.open,
    "arrays": open_arrays,
    "idx": idx.open_idx,
    "cifar10": cifar10.Cifar10.open,
}
_LOGGER = logging.getLogger("tfx_feeder.image_example_gen")


def open_sources(
    base: str, patterns: Mapping[str, str], kind: str = "auto", *, allow_outside: bool = False
) -> dict[str, ListingSource]:
    """Opens the source of each input split.

    Args:
        base: Local or remote folder.
        patterns: Glob patterns relative to ``base``, by split name.
        kind: Format of the source, or ``auto`` to detect it.
        allow_outside: If True, links and the paths in a manifest may lead out of ``base``.

    Returns:
        Sources by split; additional columns have the same type in all of them.

    Raises:
        DataError: Nothing matches, the format cannot be detected, or the source cannot be read.
    """
    sources: dict[str, Any] = {}
    kinds, locations = {}, {}
    for split, pattern in patterns.items():
        location = locations[split] = locate(base, pattern, allow_outside=allow_outside)
        kinds[split] = detect_format(location) if kind == "auto" else kind
        sources[split] = _OPENERS[kinds[split]](location, split if len(patterns) > 1 else None)
    if all(isinstance(source, manifest.Manifest) for source in sources.values()):
        sources = dict(manifest.align(sources))
    listing = {
        split: ListingSource(source, kinds[split], locations[split])
        for split, source in sources.items()
    }
    if kind == "auto":
        for source in listing.values():
            _LOGGER.info("%s: read as %s", source.location.root, source.describe())
    return listing


def class_table(sources: Mapping[str, ListingSource]) -> ClassTable:
    """Returns the classes of several splits.

    Raises:
        DataError: There are fewer than two classes; the message names what was passed over.
    """
    names = merge_names([source.class_names() for source in sources.values()])
    try:
        return ClassTable(names)
    except DataError as error:
        read = "; ".join(dict.fromkeys(source.describe() for source in sources.values()))
        raise DataError(f"{error} The folder was read as {read}.") from None


def detect_format(location: Match) -> str:
    """Detects the format of a source from the names of its files.

    Raises:
        DataError: No format matches, several do, or a table lists images in other columns.
    """
    names = [posixpath.basename(path) for path in location.files]
    inner = any("/" in location.relative(path) for path in location.files)
    tables = [path for path in location.files if path.endswith(".csv")]
    found = {
        "manifest": any(map(manifest.has_header, tables)),
        "arrays": any(name.endswith(".npz") or name == "images.npy" for name in names),
        "idx": any(map(idx.NAME.fullmatch, names)),
        "cifar10": any(map(cifar10.NAME.fullmatch, names)),
    }
    kinds = [kind for kind, fits in found.items() if fits]
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        raise DataError(
            f"{location.root}: the format is ambiguous: {' or '.join(kinds)}. "
            f"Set one, as in source={kinds[0]!r}."
        )
    if location.folders or inner:
        for table in filter(manifest.lists_images, tables):
            raise DataError(
                f"{table}: lists images, but has no columns path and label in comma-separated "
                "UTF-8. Name its columns so, or set source='class_folders' to ignore it."
            )
        return "class_folders"
    raise DataError(
        f"{location.root}: no class folders, CSV manifest with path and label, .npz or .npy "
        f"arrays, IDX files or CIFAR-10 batches. Found: {', '.join(names[:5])}."
    )
