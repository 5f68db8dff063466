from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen.files import locate
from tfx_feeder.components.image_example_gen.rejections import Rejection
from tfx_feeder.components.image_example_gen.sources.base import ImageFile, Item
from tfx_feeder.components.image_example_gen.sources.class_folders import ClassFolders


def _read(source: ClassFolders) -> list[Item]:
    return [item for chunk in source.chunks() for item in source.read(chunk)]


def test_a_folder_is_a_class(make_folders: Callable[..., Path]) -> None:
    root = make_folders("dog", "cat")
    (root / "cat" / "deep").mkdir()
    (root / "cat/0.png").rename(root / "cat/deep/0.png")
    source = ClassFolders.open(locate(str(root), "*"))
    assert source.class_names() == ("cat", "dog")
    items = _read(source)
    assert Counter(item.label for item in items if isinstance(item, ImageFile)) == {
        "cat": 6,
        "dog": 6,
    }
    assert str(root / "cat/deep/0.png") in source.files()


@pytest.mark.parametrize("pattern", ["train", "train/*", "train/*/*"])
def test_patterns_may_name_folders_or_files(
    make_folders: Callable[..., Path], pattern: str
) -> None:
    root = make_folders("cat", "dog", under="data/train")
    source = ClassFolders.open(locate(str(root.parent), pattern))
    assert source.class_names() == ("cat", "dog")
    assert len(_read(source)) == 12


def test_what_is_no_image_is_told_apart(make_folders: Callable[..., Path]) -> None:
    root = make_folders("cat", "dog")
    for name in ("README.txt", "cat/notes", "cat/a.gif", "loose.png"):
        (root / name).write_bytes(b"x")
    items = _read(ClassFolders.open(locate(str(root), "*")))
    rejected = {Path(item.path).name: item.reason for item in items if isinstance(item, Rejection)}
    assert rejected == {
        "README.txt": "not_an_image",
        "notes": "not_an_image",
        "a.gif": "unsupported_format",
        "loose.png": "no_class",
    }


def test_images_without_a_suffix_are_recognized_by_their_content(
    make_folders: Callable[..., Path],
) -> None:
    root = make_folders("cat", "dog")
    for path in (root / "dog").iterdir():
        path.rename(path.with_suffix(""))
    (root / "cat/photo").write_bytes(b"\xff\xd8\xff\xe0 and more")
    (root / "cat/notes").write_text("x")
    (root / "cat/gone").symlink_to(root / "nowhere")
    source = ClassFolders.open(locate(str(root), "*"))
    assert source.class_names() == ("cat", "dog")
    items = _read(source)
    assert Counter(item.label for item in items if isinstance(item, ImageFile)) == {
        "cat": 7,
        "dog": 6,
    }
    rejected = {Path(item.path).name: item.reason for item in items if isinstance(item, Rejection)}
    assert rejected == {"notes": "not_an_image", "gone": "missing_file"}


def test_folders_without_an_image_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "x.txt").write_text("x")
    with pytest.raises(DataError, match="no PNG or JPEG"):
        ClassFolders.open(locate(str(tmp_path), "*"))


def test_more_images_than_one_chunk(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    for number in range(150):
        (tmp_path / "cat" / f"{number}.png").touch()
    chunks = list(ClassFolders.open(locate(str(tmp_path), "*")).chunks())
    sizes = [len(chunk[1]) for chunk in chunks if isinstance(chunk, tuple)]
    assert sum(sizes) == 150
    assert max(sizes) < 150


def test_a_folder_without_an_image_is_no_class(
    make_folders: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    root = make_folders("cat", "dog")
    (root / "empty").mkdir()
    source = ClassFolders.open(locate(str(root), "*"))
    assert source.class_names() == ("cat", "dog")
    assert "no class, because they hold no PNG or JPEG file: empty" in caplog.text
