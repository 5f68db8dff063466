import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen.files import locate
from tfx_feeder.components.image_example_gen.rejections import Rejection
from tfx_feeder.components.image_example_gen.sources import class_table, detect_format, open_sources


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["digits.npz"], "arrays"),
        (["images.npy", "labels.npy", "form.npy"], "arrays"),
        (["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"], "idx"),
        (["t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"], "idx"),
        (["data_batch_1.bin", "readme.html", "batches.meta.txt"], "cifar10"),
        (["data_batch_1", "test_batch", "batches.meta"], "cifar10"),
        (["cat/0.png", "dog/0.png", "README.txt"], "class_folders"),
        (["cat/0.png", "dog/0.png", "sizes.csv"], "class_folders"),
        (["cat/0.png", "dog/0.png", "digits.npz"], "arrays"),
        (["images/0.png", "list.csv"], "manifest"),
    ],
)
def test_names_tell_the_kind(tmp_path: Path, names: list[str], kind: str) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("path,label\n" if name == "list.csv" else "x,y\n")
    assert detect_format(locate(str(tmp_path), "*")) == kind


def test_two_kinds_at_once_are_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "a.npz").touch()
    (tmp_path / "data_batch_1.bin").touch()
    with pytest.raises(DataError, match="arrays or cifar10"):
        detect_format(locate(str(tmp_path), "*"))


def test_an_unknown_folder_says_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "thesis.pdf").touch()
    with pytest.raises(DataError, match=r"no class folders.*Found: thesis\.pdf"):
        detect_format(locate(str(tmp_path), "*"))


@pytest.mark.parametrize("kind", ["class_folders", "manifest", "arrays", "idx", "cifar10"])
def test_a_named_kind_that_is_not_there(tmp_path: Path, kind: str) -> None:
    (tmp_path / "thesis.pdf").touch()
    with pytest.raises(DataError, match=str(tmp_path)):
        open_sources(str(tmp_path), {"all": "*"}, kind)


def test_each_split_has_its_source(make_folders: Callable[..., Path]) -> None:
    make_folders("cat", "dog", under="data/train")
    root = make_folders("cat", under="data/eval").parent
    sources = open_sources(str(root), {"train": "train/*", "eval": "eval/*"})
    assert {split: source.class_names() for split, source in sources.items()} == {
        "train": ("cat", "dog"),
        "eval": ("cat",),
    }


@pytest.mark.parametrize(
    "table",
    [
        b"filename,class\na,cat\nb,dog\n",
        b"x,y\nimages/a.png,cat\n",
        b"path;label\nimages/a.png;cat\n",
        "path,label\nimages/a.png,cat\n".encode("utf-16"),
    ],
)
def test_a_table_of_images_in_other_columns_is_not_passed_over(
    make_folders: Callable[..., Path], table: bytes
) -> None:
    root = make_folders("images", "masks")
    (root / "labels.csv").write_bytes(table)
    with pytest.raises(DataError, match=r"labels\.csv: lists images.*source='class_folders'"):
        open_sources(str(root), {"all": "*"})
    sources = open_sources(str(root), {"all": "*"}, "class_folders")
    assert sources["all"].class_names() == ("images", "masks")


def test_a_guess_names_the_format_and_what_it_passes_over(
    make_folders: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    root = make_folders("cat", "dog")
    np.savez(root / "a.npz", images=np.zeros((2, 4, 4), np.uint8), labels=np.arange(2))
    with caplog.at_level(logging.INFO):
        source = open_sources(str(root), {"all": "*"})["all"]
    assert "read as arrays, passing over cat, dog" in caplog.text
    passed = [chunk for chunk in source.chunks() if isinstance(chunk, Rejection)]
    assert [Path(item.path).name for item in passed] == ["cat", "dog"]
    assert {item.reason for item in passed} == {"passed_over"}


def test_a_single_class_is_refused_with_what_was_read(make_folders: Callable[..., Path]) -> None:
    root = make_folders("img")
    (root / "loop").symlink_to(".")
    with pytest.raises(DataError, match=r"Found: img\. .*read as class_folders, .* loop"):
        class_table(open_sources(str(root), {"all": "*"}))
