import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen import files


def _walk(root: Path) -> list[str]:
    location = files.locate(str(root), "*")
    found = [path for _, paths in location.walk() for path in paths]
    return [*location.files, *(path for path in found if isinstance(path, str))]


def _print_of(root: Path) -> str:
    return files.fingerprint(str(root), _walk(root))


def test_a_folder_and_its_contents_are_the_same_pattern(make_folders: Callable[..., Path]) -> None:
    root = make_folders("cat", "dog", under="data/span-1")
    by_name = files.locate(str(root.parent), "span-1")
    assert by_name == files.locate(str(root.parent), "span-1/*")
    assert by_name.root == str(root)
    assert by_name.folders == (str(root / "cat"), str(root / "dog"))


def test_the_root_ends_where_wildcards_begin(make_folders: Callable[..., Path]) -> None:
    root = make_folders("cat", "dog", under="data/train")
    location = files.locate(str(root.parent), "train/*/*.png")
    assert location.root == str(root)
    assert len(location.files) == 6
    assert location.relative(location.files[0]) == "cat/0.png"


def test_what_file_managers_leave_is_invisible(make_folders: Callable[..., Path]) -> None:
    root = make_folders("cat")
    for litter in (".DS_Store", "cat/.DS_Store", "cat/Thumbs.db", ".cache/x.png", "__MACOSX/y.png"):
        (root / litter).parent.mkdir(exist_ok=True)
        (root / litter).write_bytes(b"x")
    assert files.locate(str(root), "*").folders == (str(root / "cat"),)
    assert len(_walk(root)) == 6


@pytest.mark.parametrize("pattern", ["*", "missing", "span-1/*"])
def test_nothing_is_an_error(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(DataError, match="no file matches"):
        files.locate(str(tmp_path), pattern)


def test_fingerprint_sees_a_move_between_classes(make_folders: Callable[..., Path]) -> None:
    root = make_folders("cat", "dog")
    before = _print_of(root)
    (root / "cat/0.png").rename(root / "dog/00.png")
    assert _print_of(root) != before
    (root / "dog/00.png").rename(root / "cat/0.png")
    assert _print_of(root) == before


def test_fingerprint_sees_a_rewritten_file(make_folders: Callable[..., Path]) -> None:
    root = make_folders("cat")
    before = _print_of(root)
    stat = (root / "cat/0.png").stat()
    os.utime(root / "cat/0.png", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))
    assert _print_of(root) != before


def test_fingerprint_does_not_depend_on_place_or_order(
    make_folders: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_folders("cat", "dog")
    paths = _walk(root)
    before = files.fingerprint(str(root), paths)
    assert files.fingerprint(str(root), reversed(paths)) == before
    moved = root.rename(tmp_path / "elsewhere")
    assert _print_of(moved) == before


def test_fingerprint_counts_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    missing = files.fingerprint(str(tmp_path), [str(path)])
    path.write_bytes(b"x")
    assert missing.startswith("1:")
    assert files.fingerprint(str(tmp_path), [str(path)]) != missing
