"""Sources of labeled images, and detection of their format."""

import posixpath
from collections.abc import Callable, Mapping
from typing import Any, cast

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen.files import Match, locate
from tfx_feeder.components.image_example_gen.sources import cifar10, idx, manifest
from tfx_feeder.components.image_example_gen.sources.arrays import open_arrays
from tfx_feeder.components.image_example_gen.sources.base import Source
from tfx_feeder.components.image_example_gen.sources.class_folders import ClassFolders

_OPENERS: dict[str, Callable[[Match, str | None], Source]] = {
    "class_folders": ClassFolders.open,
    "manifest": manifest.Manifest.open,
    "arrays": open_arrays,
    "idx": idx.open_idx,
    "cifar10": cifar10.Cifar10.open,
}


def open_sources(base: str, patterns: Mapping[str, str], kind: str = "auto") -> dict[str, Source]:
    """Opens the source of each input split.

    Args:
        base: Local or remote folder.
        patterns: Glob patterns relative to ``base``, by split name.
        kind: Format of the source, or ``auto`` to detect it.

    Returns:
        Sources by split; additional columns have the same type in all of them.

    Raises:
        DataError: Nothing matches, the format cannot be detected, or the source cannot be read.
    """
    sources: dict[str, Any] = {}
    for split, pattern in patterns.items():
        location = locate(base, pattern)
        opener = _OPENERS[detect_format(location) if kind == "auto" else kind]
        sources[split] = opener(location, split if len(patterns) > 1 else None)
    if all(isinstance(source, manifest.Manifest) for source in sources.values()):
        return cast(dict[str, Source], manifest.align(sources))
    return sources


def detect_format(location: Match) -> str:
    """Detects the format of a source from the names of its files.

    Raises:
        DataError: No format matches, or several do.
    """
    names = [posixpath.basename(path) for path in location.files]
    inner = any("/" in location.relative(path) for path in location.files)
    found = {
        "manifest": any(map(manifest.has_header, _ending(location, ".csv"))),
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
        return "class_folders"
    raise DataError(
        f"{location.root}: no class folders, CSV manifest with path and label, .npz or .npy "
        f"arrays, IDX files or CIFAR-10 batches. Found: {', '.join(names[:5])}."
    )


def _ending(location: Match, suffix: str) -> list[str]:
    return [path for path in location.files if path.endswith(suffix)]
