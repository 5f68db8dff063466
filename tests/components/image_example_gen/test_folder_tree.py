"""Links, special files and names of any bytes: each file once, and what is left out is listed."""

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen.files import fingerprint
from tfx_feeder.components.image_example_gen.rejections import Rejection
from tfx_feeder.components.image_example_gen.sources import open_sources
from tfx_feeder.components.image_example_gen.sources.base import ImageFile, Item


def _read(folder: Path, **options: bool) -> tuple[list[ImageFile], dict[str, str]]:
    source = open_sources(str(folder), {"all": "*"}, **options)["all"]
    items: list[Item] = [item for chunk in source.chunks() for item in source.read(chunk)]
    rejected = {
        os.path.relpath(item.path, folder): item.reason
        for item in items
        if isinstance(item, Rejection)
    }
    return [item for item in items if isinstance(item, ImageFile)], rejected


@pytest.mark.parametrize(
    "links",
    [
        {"cat/up": ".."},
        {"cat/loop": "."},
        {"cat/loop": ".", "dog/loop": "."},
        {"cat/across": "../dog", "dog/across": "../cat"},
        {"birds": "cat"},
        {"cat/0.jpg": "../dog/0.png", "cat/self.png": "self.png"},
    ],
)
def test_links_within_the_folder_are_listed_and_not_followed(
    links: dict[str, str], make_folders: Callable[..., Path]
) -> None:
    root = make_folders("cat", "dog")
    for name, target in links.items():
        (root / name).symlink_to(target)
    images, rejected = _read(root)
    assert len(images) == len({image.path for image in images}) == 12
    assert {image.label for image in images} == {"cat", "dog"}
    assert rejected == dict.fromkeys(links, "link")


def test_links_out_of_the_folder_are_followed_if_allowed_and_each_folder_once(
    make_folders: Callable[..., Path],
) -> None:
    root, elsewhere = make_folders("cat", "dog"), make_folders("emu", "far", under="elsewhere")
    (root / "emu").symlink_to(elsewhere / "emu")
    (root / "dog/again").symlink_to(elsewhere / "emu")
    (root / "cat/one.png").symlink_to(elsewhere / "far/0.png")
    images, rejected = _read(root)
    assert len(images) == 12
    assert rejected == dict.fromkeys(["emu", "dog/again", "cat/one.png"], "outside_folder")
    images, rejected = _read(root, allow_outside=True)
    assert len(images) == 12 + 6 + 1
    assert rejected == {"emu": "link"}


def test_a_folder_of_links_alone_says_how_to_follow_them(
    make_folders: Callable[..., Path], tmp_path: Path
) -> None:
    elsewhere = make_folders("emu", under="elsewhere")
    (tmp_path / "only").mkdir()
    (tmp_path / "only/emu").symlink_to(elsewhere / "emu")
    with pytest.raises(DataError, match="allow_outside=True"):
        _read(tmp_path / "only")


def test_a_link_to_a_hidden_store_in_the_folder_is_followed(
    make_folders: Callable[..., Path],
) -> None:
    root = make_folders("cat", "dog")
    (root / ".store").mkdir()
    (root / "cat/0.png").rename(root / ".store/5a0c")
    (root / "cat/0.png").symlink_to("../.store/5a0c")
    images, rejected = _read(root)
    assert len(images) == 12
    assert rejected == {}


def test_a_span_may_be_a_link(make_folders: Callable[..., Path], tmp_path: Path) -> None:
    elsewhere = make_folders("cat", "dog", under="elsewhere")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/span-1").symlink_to(elsewhere)
    source = open_sources(str(tmp_path / "data"), {"all": "span-1/*"})["all"]
    assert source.class_names() == ("cat", "dog")
    assert len(list(source.files())) == 12


def test_what_is_no_regular_file_is_never_opened(make_folders: Callable[..., Path]) -> None:
    root = make_folders("cat", "dog")
    for name in ("cat/pipe.png", "cat/pipe", "list.csv", "digits.npz"):
        os.mkfifo(root / name)
    images, rejected = _read(root)
    assert len(images) == 12
    assert rejected == dict.fromkeys(
        ["cat/pipe.png", "cat/pipe", "list.csv", "digits.npz"], "not_a_file"
    )


def test_a_folder_that_cannot_be_read_is_an_error_because_it_may_hold_a_whole_class(
    make_folders: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, scandir = make_folders("cat", "dog", "emu"), os.scandir

    def deny(path: str) -> Any:
        if path.endswith("emu"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(DataError, match="emu: cannot be read: Permission denied"):
        open_sources(str(root), {"all": "*"})["all"].class_names()


def test_names_may_consist_of_any_bytes(make_folders: Callable[..., Path]) -> None:
    root = make_folders("cat", "dog")
    names = [b"caf\xe9.png", b"new\nline.png", b"\x1b[2J.png", b"[a]*?.png"]
    for path, name in zip(list((root / "cat").iterdir()), names, strict=False):
        path.rename(os.fsdecode(os.path.join(os.fsencode(path.parent), name)))
    os.mkdir(os.path.join(os.fsencode(root), b"\xe9mu"))
    os.rename(root / "dog/0.png", os.path.join(os.fsencode(root), b"\xe9mu", b"0.png"))
    images, rejected = _read(root)
    assert len(images) == 12
    assert rejected == {}
    assert {image.label for image in images} == {"cat", "dog", "\\xe9mu"}
    source = open_sources(str(root), {"all": "*"})["all"]
    assert fingerprint(str(root), source.files()).startswith("12:")


@pytest.mark.parametrize("name", ["my[photos]", "star*x", "what?", "back\\slash", "{SPAN}"])
def test_the_name_of_the_folder_is_no_pattern(name: str, make_folders: Callable[..., Path]) -> None:
    root = make_folders("cat", "dog", under=name)
    make_folders("emu", under="star_OTHER_x")
    images, rejected = _read(root)
    assert {image.label for image in images} == {"cat", "dog"}
    assert rejected == {}


def test_images_may_lie_deep(make_folders: Callable[..., Path]) -> None:
    root = make_folders("cat", "dog")
    deep = root / "cat"
    for _ in range(300):  # More than pytest can remove would end its session with an error.
        deep /= "x"
        deep.mkdir()
    (root / "cat/0.png").rename(deep / "0.png")
    try:
        assert len(_read(root)[0]) == 12
    finally:
        # pytest removes the folders of earlier sessions by recursion, and would end in an error.
        subprocess.run(["rm", "-r", str(root)], check=True)
