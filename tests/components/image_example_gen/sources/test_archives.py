"""Arrays and IDX files, which share their reader."""

import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen.files import locate
from tfx_feeder.components.image_example_gen.rejections import Rejection
from tfx_feeder.components.image_example_gen.sources import checksums
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


def _flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("part", ["images-idx3", "labels-idx1"])
def test_a_gzip_whose_check_sum_differs_is_rejected_as_a_whole(tmp_path: Path, part: str) -> None:
    for name, rows in (("train", GREY), ("t10k", GREY[:200])):
        # Stored blocks, so that a flipped bit changes a pixel and nothing else.
        for kind, array in (("images-idx3", rows), ("labels-idx1", LABELS[: len(rows)])):
            _write_idx(tmp_path / f"{name}-{kind}-ubyte", array)
            path = tmp_path / f"{name}-{kind}-ubyte"
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 0))
            path.unlink()
    damaged = tmp_path / f"train-{part}-ubyte.gz"
    _flip(damaged, damaged.stat().st_size // 2)
    source = open_idx(locate(str(tmp_path), "*"))
    assert source.class_names() == tuple(map(str, range(10)))
    items = _read(source)
    np.testing.assert_array_equal(_pixels(items)[..., 0], GREY[:200])
    (rejected,) = (item for item in items if isinstance(item, Rejection))
    assert (rejected.path, rejected.reason) == (str(damaged), "corrupt_archive")
    assert (rejected.index, rejected.records) == (0, 600)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("where", [0.2, 0.5, 0.8])
def test_an_npz_with_a_flipped_bit_yields_no_damaged_image(
    tmp_path: Path, save: Callable[..., None], where: float
) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (600, 8, 8), dtype=np.uint8)
    save(tmp_path / "a.npz", images=noise, labels=LABELS)
    save(tmp_path / "b.npz", images=GREY, labels=LABELS)
    _flip(tmp_path / "a.npz", int(where * 600 * 64))
    items = _read(open_arrays(locate(str(tmp_path), "*")))
    np.testing.assert_array_equal(_pixels(items)[..., 0], GREY)
    (rejected,) = (item for item in items if isinstance(item, Rejection))
    assert (rejected.reason, rejected.records) == ("corrupt_archive", 600)


def test_damaged_labels_alone_are_named(tmp_path: Path) -> None:
    labels = np.arange(2_000, dtype=np.int64)
    np.savez(tmp_path / "a.npz", images=np.zeros((2_000, 1, 1), np.uint8), labels=labels)
    data = (tmp_path / "a.npz").read_bytes()
    _flip(tmp_path / "a.npz", data.rindex(labels.tobytes()) + 8_000)
    with pytest.raises(DataError, match=r"a\.npz\[labels\]: damaged: Bad CRC-32"):
        open_arrays(locate(str(tmp_path), "*")).class_names()


def test_bytes_behind_a_gzip_do_no_harm(tmp_path: Path) -> None:
    _write_idx(tmp_path / "train-images-idx3-ubyte.gz", GREY)
    _write_idx(tmp_path / "train-labels-idx1-ubyte.gz", LABELS)
    with (tmp_path / "train-images-idx3-ubyte.gz").open("ab") as file:
        file.write(b"\0" * 10 + b"garbage")
    np.testing.assert_array_equal(
        _pixels(_read(open_idx(locate(str(tmp_path), "*"))))[..., 0], GREY
    )


def test_a_gzip_in_two_parts_is_verified_to_its_end(tmp_path: Path) -> None:
    _write_idx(tmp_path / "train-images-idx3-ubyte", GREY)
    _write_idx(tmp_path / "train-labels-idx1-ubyte", LABELS)
    whole = (tmp_path / "train-images-idx3-ubyte").read_bytes()
    parts = [gzip.compress(part, 0) for part in (whole[:20_000], whole[20_000:])]
    (tmp_path / "train-images-idx3-ubyte").unlink()
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(b"".join(parts))
    np.testing.assert_array_equal(
        _pixels(_read(open_idx(locate(str(tmp_path), "*"))))[..., 0], GREY
    )
    _flip(path, len(parts[0]) + 100)
    (rejected,) = _read(open_idx(locate(str(tmp_path), "*")))
    assert isinstance(rejected, Rejection)
    assert rejected.reason == "corrupt_archive"


def _npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode() + b"\n"
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def _described(shape: str, descr: str = "'|u1'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_npy(_described("(10**13, 8, 8)")), "cannot be read"),
        (_npy(_described("(10000000000000, 8, 8)")), "rows; at most"),
        (_npy(_described("(2, 100000, 100000)")), "bytes in a row; at most"),
        (_npy(_described("(-2, 8, 8)")), "describes no array"),
        (_npy(_described("(2, -8, -8)")), "describes no array"),
        (_npy(_described("(2,)", "'|S0'")), "describes no array"),
        (_npy(_described("(" + "1," * 40 + ")")), "dimensions; 1 to 8"),
        (_npy("(" * 3_000), "cannot be read"),
        (_npy("{" * 90), "cannot be read"),
        (_npy("x" * 20_000, version=2), "the header has 20,001 bytes"),
        (b"\x93NUMPY\2\0\xff\xff\xff\xff", "the header has 4,294,967,295 bytes"),
        (b"\x93NUMPY\1", "cannot be read"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    np.save(tmp_path / "labels.npy", LABELS)
    (tmp_path / "images.npy").write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_arrays(locate(str(tmp_path), "*"))


def test_rows_that_are_not_there_take_no_time(tmp_path: Path) -> None:
    header = _described("(1000000000,)", "'<i8'")
    (tmp_path / "labels.npy").write_bytes(_npy(header, bytes(80)))
    (tmp_path / "images.npy").write_bytes(_npy(_described("(1000000000, 1, 1)"), bytes(10)))
    source = open_arrays(locate(str(tmp_path), "*"))
    assert source.class_names() == ("0",)
    end = _read(source)[-1]
    assert isinstance(end, Rejection)
    assert (end.reason, end.records) == ("truncated_archive", 10**9 - 10)


@pytest.mark.parametrize("suffix", [".npz", ".gz"])
def test_a_decompression_bomb_is_refused(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "_SMALL_BYTES", 1 << 20)
    zeros = np.zeros((20_000, 16, 16), np.uint8)
    if suffix == ".npz":
        np.savez_compressed(tmp_path / "a.npz", images=zeros, labels=np.arange(20_000) % 2)
        with pytest.raises(DataError, match="expands to"):
            open_arrays(locate(str(tmp_path), "*"))
        return
    _write_idx(tmp_path / "train-images-idx3-ubyte.gz", zeros)
    _write_idx(tmp_path / "train-labels-idx1-ubyte", np.arange(20_000) % 2)
    (rejected,) = _read(open_idx(locate(str(tmp_path), "*")))
    assert isinstance(rejected, Rejection)
    assert "expands to" in rejected.cause


def test_zip_members_that_numpy_does_not_write_are_refused(tmp_path: Path) -> None:
    for method, message in ((zipfile.ZIP_BZIP2, "method 12"), (zipfile.ZIP_STORED, "encrypted")):
        with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
            for name, array in (("images", GREY), ("labels", LABELS)):
                content = io.BytesIO()
                np.save(content, array)
                archive.writestr(f"{name}.npy", content.getvalue())
        data = bytearray((tmp_path / "a.npz").read_bytes())
        if method == zipfile.ZIP_STORED:
            for signature, offset in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
                data[data.index(signature) + offset] |= 1
        (tmp_path / "a.npz").write_bytes(data)
        with pytest.raises(DataError, match=message):
            open_arrays(locate(str(tmp_path), "*"))


def test_columns_that_no_example_can_hold(tmp_path: Path) -> None:
    arrays = {"images": GREY, "labels": LABELS}
    np.savez(tmp_path / "a.npz", **arrays, wide=np.zeros(600, np.longdouble))
    with pytest.raises(DataError, match="expected 600 rows of numbers or text"):
        open_arrays(locate(str(tmp_path), "*"))
    np.savez(tmp_path / "a.npz", **arrays, empty=np.zeros((600, 0)))
    assert len(_pixels(_read(open_arrays(locate(str(tmp_path), "*"))))) == 600


def test_text_that_is_no_text(tmp_path: Path) -> None:
    labels = np.array(["a\udce9", "b"] * 300)
    np.savez(tmp_path / "a.npz", images=GREY, labels=labels)
    assert open_arrays(locate(str(tmp_path), "*")).class_names() == ("a?", "b")
    garbage = np.full((600, 2), 0x7FFFFFFF, np.uint32).view("<U2")[:, 0]
    np.savez(tmp_path / "a.npz", images=GREY, labels=garbage)
    (name,) = open_arrays(locate(str(tmp_path), "*")).class_names()
    assert name.encode()


@pytest.mark.parametrize("sizes", [(-1, 8, 8), (600, -8, -8), (600, 2**30, 2**30)])
def test_an_idx_header_that_lies_is_refused(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    head = struct.pack(">BBBB3i", 0, 0, 8, 3, *sizes)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(head + bytes(100))
    _write_idx(tmp_path / "train-labels-idx1-ubyte", LABELS)
    with pytest.raises(DataError, match=r"images-idx3-ubyte: cannot be read"):
        open_idx(locate(str(tmp_path), "*"))
