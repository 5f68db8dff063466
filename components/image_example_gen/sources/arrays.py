"""NumPy arrays in ``.npz`` archives or ``.npy`` files."""

import posixpath

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen.files import Match
from tfx_feeder.components.image_example_gen.sources.archives import ArrayArchives, ImageArrays
from tfx_feeder.components.image_example_gen.sources.array_stream import ArrayFile, npz_names

_KERAS_PARTS = {"train": ("train",), "eval": ("test",), "test": ("test",)}


def open_arrays(location: Match, split: str | None = None) -> ArrayArchives:
    """Opens every ``.npz`` file, and all ``.npy`` files together as one archive.

    Arrays ``images`` and ``labels`` are required; others of the same length become columns. The
    layout of Keras's own files (``x_train``, ``y_train``, ``x_test``, ``y_test``) is supported as
    well; its halves are concatenated unless splits are named.

    Args:
        location: Files that the pattern matched.
        split: Name of the input split if there are several: ``train`` selects the training half
            of a Keras file, ``eval`` or ``test`` the other one.

    Raises:
        DataError: An archive is incomplete, or the lengths of its arrays differ.
    """
    found = [
        archive
        for path in location.files
        if path.endswith(".npz")
        for archive in _open_npz(path, split)
    ]
    loose = [path for path in location.files if path.endswith(".npy")]
    if loose:
        members = {posixpath.basename(path).removesuffix(".npy"): ArrayFile(path) for path in loose}
        found.append(_pair(members, posixpath.dirname(loose[0])))
    if not found:
        raise DataError(f"{location.root}: no .npz or .npy file.")
    return ArrayArchives(tuple(found))


def _open_npz(path: str, split: str | None) -> list[ImageArrays]:
    names = npz_names(path)
    members = {name: ArrayFile(path, name) for name in names}
    if not {"x_train", "y_train", "x_test", "y_test"} <= members.keys():
        return [_pair(members, path)]
    if split is not None and split not in _KERAS_PARTS:
        known = ", ".join(_KERAS_PARTS)
        raise DataError(f"{path}: split {split!r} matches no half. Name the splits {known}.")
    parts = _KERAS_PARTS[split] if split is not None else ("train", "test")
    return [ImageArrays(members[f"x_{part}"], members[f"y_{part}"]) for part in parts]


def _pair(members: dict[str, ArrayFile], where: str) -> ImageArrays:
    if missing := {"images", "labels"} - members.keys():
        raise DataError(
            f"{where}: no array {min(missing)!r}. Found: {', '.join(sorted(members)) or 'nothing'}."
        )
    images, labels = members.pop("images"), members.pop("labels")
    length = images.open().shape[0]
    columns = {name: m for name, m in members.items() if m.open().shape[0] == length}
    return ImageArrays(images, labels, columns)
