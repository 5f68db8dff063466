"""Arrays and IDX files, which share their reader."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen.files import locate
from tfx_feeder.components.image_example_gen.rejections import Rejection
from tfx_feeder.components.image_example_gen.sources.archives import ArrayArchives
from tfx_feeder.components.image_example_gen.sources.arrays import open_arrays
from tfx_feeder.components.image_example_gen.sources.base import ImageBatch, Item
from tfx_feeder.components.image_example_gen.sources.idx import open_idx

GREY = np.random.default_rng(2).integers(0, 256, (600, 8, 8), dtype=np.uint8)
LABELS = np.arange(600) % 10


def _read(source: ArrayArchives) -> list[Item]:
    return [item for chunk in source.chunks() for item in source.read(chunk)]


def _pixels(items: list[Item]) -> np.ndarray:
    return np.concatenate([item.pixels for item in items if isinstance(item, ImageBatch)])


def _labels(items: list[Item]) -> list[Any]:
    return [x for item in items if isinstance(item, ImageBatch) for x in item.labels.tolist()]


def _write_idx(path: Path, array: np.ndarray) -> None:
    head = struct.pack(f">BBBB{array.ndim}i", 0, 0, 8, array.ndim, *array.shape)
    data = head + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_comes_in_slices(tmp_path: Path, save: Callable[..., None]) -> None:
    boxes = np.arange(1200.0).reshape(600, 2)
    save(tmp_path / "a.npz", images=GREY, labels=LABELS, boxes=boxes, note=np.arange(3))
    source = open_arrays(locate(str(tmp_path), "*"))
    assert source.class_names() == tuple(map(str, range(10)))
    items = _read(source)
    assert len(items) > 1
    np.testing.assert_array_equal(_pixels(items), GREY[..., np.newaxis])
    assert _labels(items) == LABELS.tolist()
    last = items[-1]
    assert isinstance(last, ImageBatch)
    assert set(last.features) == {"boxes"}
    np.testing.assert_array_equal(last.features["boxes"][-1], boxes[-1])
    assert last.start + len(last.labels) == 600


def test_npy_files_side_by_side(tmp_path: Path, pixels: np.ndarray) -> None:
    np.save(tmp_path / "images.npy", pixels)
    np.save(tmp_path / "labels.npy", np.array(["dog", "cät"] * 6)[:, np.newaxis])
    source = open_arrays(locate(str(tmp_path), "*"))
    assert source.class_names() == ("cät", "dog")
    items = _read(source)
    np.testing.assert_array_equal(_pixels(items), pixels)
    assert _labels(items)[:2] == ["dog", "cät"]


def test_a_keras_file_whole_or_in_halves(tmp_path: Path) -> None:
    arrays = {"x_train": GREY[:400], "y_train": LABELS[:400], "x_test": GREY[400:]}
    np.savez(tmp_path / "mnist.npz", **arrays, y_test=LABELS[400:])
    location = locate(str(tmp_path), "mnist.npz")
    lengths = {split: len(_labels(_read(open_arrays(location, split)))) for split in (None, "eval")}
    assert lengths == {None: 600, "eval": 200}
    assert len(_labels(_read(open_arrays(location, "train")))) == 400
    with pytest.raises(DataError, match="split 'dev' matches no half"):
        open_arrays(location, "dev")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": GREY}, "no array 'labels'"),
        ({"images": GREY / 255, "labels": LABELS}, "expected uint8 pixels.*float64"),
        ({"images": GREY[0], "labels": LABELS}, "expected uint8 pixels"),
        ({"images": GREY, "labels": LABELS[:-1]}, "expected 600 labels.*599"),
        ({"images": GREY, "labels": LABELS / 2}, "float64"),
        ({"images": GREY, "labels": LABELS, "width": LABELS}, "'width' needs another name"),
        ({"images": GREY, "labels": LABELS.astype(object)}, "Python objects"),
        ({"images": np.asfortranarray(GREY), "labels": LABELS}, "Fortran order"),
    ],
)
def test_arrays_that_cannot_work(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        open_arrays(locate(str(tmp_path), "*"))


def test_a_truncated_npz_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=GREY, labels=LABELS)
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.npz: not a complete \.npz"):
        open_arrays(locate(str(tmp_path), "*"))


def test_a_truncated_npy_keeps_its_complete_images(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", GREY)
    np.save(tmp_path / "labels.npy", LABELS)
    with (tmp_path / "images.npy").open("r+b") as file:
        file.truncate(128 + 301 * 64 + 5)
    items = _read(open_arrays(locate(str(tmp_path), "*")))
    np.testing.assert_array_equal(_pixels(items)[..., 0], GREY[:301])
    end = items[-1]
    assert isinstance(end, Rejection)
    assert (end.reason, end.index, end.records) == ("truncated_archive", 301, 299)
    assert end.path.endswith("images.npy")


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("separator", ["-", "."])
def test_idx_pairs(tmp_path: Path, suffix: str, separator: str) -> None:
    for name, part in (("train", slice(0, 400)), ("t10k", slice(400, 600))):
        _write_idx(tmp_path / f"{name}-images{separator}idx3-ubyte{suffix}", GREY[part])
        _write_idx(tmp_path / f"{name}-labels{separator}idx1-ubyte{suffix}", LABELS[part])
    items = _read(open_idx(locate(str(tmp_path), "train-*")))
    np.testing.assert_array_equal(_pixels(items)[..., 0], GREY[:400])
    assert sorted(_labels(_read(open_idx(locate(str(tmp_path), "*"))))) == sorted(LABELS)


def test_a_truncated_gzip_keeps_what_came_before(tmp_path: Path) -> None:
    large = np.random.default_rng(3).integers(0, 256, (3000, 8, 8), dtype=np.uint8)
    _write_idx(tmp_path / "train-images-idx3-ubyte.gz", large)
    _write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.arange(3000) % 10)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:150_000])
    items = _read(open_idx(locate(str(tmp_path), "*")))
    saved = _pixels(items)[..., 0]
    np.testing.assert_array_equal(saved, large[: len(saved)])
    end = items[-1]
    assert isinstance(end, Rejection)
    assert len(saved) > 1000
    assert len(saved) + end.records == 3000


def test_idx_halves_that_do_not_meet(tmp_path: Path) -> None:
    _write_idx(tmp_path / "train-images-idx3-ubyte", GREY)
    with pytest.raises(DataError, match="labels of train are missing"):
        open_idx(locate(str(tmp_path), "*"))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"<html>")
    with pytest.raises(DataError, match="not an IDX header"):
        open_idx(locate(str(tmp_path), "*"))
