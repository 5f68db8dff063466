import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen.files import locate
from tfx_feeder.components.image_example_gen.rejections import Rejection
from tfx_feeder.components.image_example_gen.sources.base import ImageBatch, Item
from tfx_feeder.components.image_example_gen.sources.cifar10 import Cifar10

PLANES = np.random.default_rng(4).integers(0, 256, (300, 3, 32, 32), dtype=np.uint8)
LABELS = np.arange(300) % 10


def _read(folder: Path, pattern: str = "*") -> list[Item]:
    source = Cifar10.open(locate(str(folder), pattern))
    return [item for chunk in source.chunks() for item in source.read(chunk)]


def _check(items: list[Item], count: int = 300) -> None:
    batches = [item for item in items if isinstance(item, ImageBatch)]
    pixels = np.concatenate([batch.pixels for batch in batches])
    np.testing.assert_array_equal(pixels, PLANES[:count].transpose(0, 2, 3, 1))
    assert [x for batch in batches for x in batch.labels.tolist()] == LABELS[:count].tolist()


def _binary() -> bytes:
    rows = np.concatenate([LABELS[:, np.newaxis].astype(np.uint8), PLANES.reshape(300, -1)], axis=1)
    return rows.tobytes()


def test_binary_batches(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1.bin").write_bytes(_binary())
    (tmp_path / "batches.meta.txt").write_text("airplane\n")
    _check(_read(tmp_path))


def test_a_binary_batch_cut_short(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1.bin").write_bytes(_binary()[: 270 * 3073 + 100])
    items = _read(tmp_path)
    _check(items, 270)
    end = items[-1]
    assert isinstance(end, Rejection)
    assert (end.reason, end.index, end.records) == ("truncated_archive", 270, 1)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_python_batches(tmp_path: Path, protocol: int) -> None:
    batch = {"data": PLANES.reshape(300, -1), "labels": LABELS.tolist()}
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(batch, protocol))
    (tmp_path / "test_batch").write_bytes(pickle.dumps(batch, protocol))
    _check(_read(tmp_path, "data_batch_*"))


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["trap", "short", "other"])
def test_a_pickle_is_not_trusted(tmp_path: Path, kind: str) -> None:
    good = pickle.dumps({"data": PLANES.reshape(300, -1), "labels": LABELS.tolist()})
    content = {
        "trap": pickle.dumps({"data": _Trap(tmp_path / "ran"), "labels": []}),
        "short": good[:-1000],
        "other": pickle.dumps([1, 2]),
    }
    (tmp_path / "data_batch_1").write_bytes(content[kind])
    (end,) = _read(tmp_path)
    assert isinstance(end, Rejection)
    assert (end.reason, end.records) == ("truncated_archive", 10_000)
    assert not (tmp_path / "ran").exists()


def _short(text: str) -> bytes:
    return b"U" + bytes([len(text)]) + text.encode()


def _of_python_2() -> bytes:
    """Returns a batch as Python 2 wrote those that are distributed."""
    names = b"".join(_short(f"{number}.png") for number in range(300))
    return b"".join(
        (
            b"\x80\x02}q\x01(" + _short("batch_label") + b"q\x02" + _short("training batch 1 of 5"),
            _short("labels") + b"q\x04]q\x05(",
            b"".join(b"K" + bytes([label]) for label in LABELS) + b"e",
            _short("data") + b"q\x06cnumpy.core.multiarray\n_reconstruct\nq\x07",
            b"cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\x09(K\x01M" + struct.pack("<H", 300),
            b"M\x00\x0c\x86cnumpy\ndtype\nq\x0aU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNN",
            b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<i", PLANES.nbytes),
            PLANES.tobytes() + b"tb" + _short("filenames") + b"q\x0c]q\x0d(" + names + b"eu.",
        )
    )


def _meta_of_python_2(names: list[str]) -> bytes:
    head = b"\x80\x02}q\x01(" + _short("num_cases_per_batch") + b"q\x02M\x10'"
    listed = _short("label_names") + b"q\x03]q\x04(" + b"".join(map(_short, names)) + b"e"
    return head + listed + _short("num_vis") + b"q\x05M\x00\x0cu."


def test_the_distributed_layout(tmp_path: Path) -> None:
    assert sorted(pickle.loads(_of_python_2(), encoding="latin1")) == [
        *("batch_label", "data", "filenames", "labels")
    ]
    (tmp_path / "data_batch_1").write_bytes(_of_python_2())
    _check(_read(tmp_path))


def test_class_names_are_those_of_the_meta_file(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(_of_python_2())
    names = ["eins", "zwei", "drei"]
    for content in (_meta_of_python_2(names), pickle.dumps({"label_names": names})):
        (tmp_path / "batches.meta").write_bytes(content)
        source = Cifar10.open(locate(str(tmp_path), "*"))
        assert source.class_names() == tuple(names)
        assert str(tmp_path / "batches.meta") in source.files()
    (tmp_path / "batches.meta").write_bytes(pickle.dumps({"label_names": ["a", "a"]}))
    with pytest.raises(DataError, match=r"batches\.meta: not the class names"):
        Cifar10.open(locate(str(tmp_path), "*")).class_names()


class _ObjectField:
    """Element type that takes eight bytes for a pointer, though its flags deny it."""

    def __reduce__(self) -> Any:
        fields = {"f": (np.dtype("O"), 0)}
        return np.dtype, ("V8",), (3, "|", None, ("f",), fields, 8, 1, 0)


class _Wild:
    """Array of pointers that the file names."""

    def __init__(self, dtype: Any, shape: Any, content: Any) -> None:
        self.state = (1, shape, dtype, False, content)

    def __reduce__(self) -> Any:
        return np.empty(0).__reduce__()[0], (np.ndarray, (0,), b"b"), self.state


@pytest.mark.parametrize(
    ("dtype", "shape", "content"),
    [
        (_ObjectField(), (3072, 1), b"A" * 8 * 3072),
        (np.dtype("O"), (1, 3072), [1] * 3072),
        (np.dtype("u1"), (2, 3072), b"A" * 3072),
        (np.dtype("u1"), (-1, 3072), b""),
        (np.dtype("u1"), (10**30, 3072), b""),
        (np.dtype("i8"), (1, 3072), b"A" * 8 * 3072),
        (np.dtype([("a", "u1")]), (1, 3072), b"A" * 3072),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_only_arrays_of_bytes_are_built(
    tmp_path: Path, dtype: Any, shape: Any, content: Any, protocol: int
) -> None:
    batch = {"data": _Wild(dtype, shape, content), "labels": [0]}
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(batch, protocol))
    (end,) = _read(tmp_path)
    assert isinstance(end, Rejection)
    assert "not a complete batch: " in end.cause


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"data": PLANES.reshape(300, -1), "labels": [10**100] * 300}),
        pickle.dumps({"data": PLANES.reshape(300, -1), "labels": [True] * 300}),
        pickle.dumps({"data": PLANES.reshape(300, -1), "labels": [1] * 299}),
        b"\x80\x02" + b"]" * 1_000_001 + b".",
        b"\x80\x02K\x01K\x02b.",
        b"\x80\x02.",
        b"\x80\x02}h\x07.",
        b"I" + b"1" * 10_000 + b"\n.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"ccodecs\nencode\n(X\x01\x00\x00\x00aVrot13\ntR.",
    ],
)
def test_a_damaged_pickle_is_one_rejection(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data_batch_1").write_bytes(content)
    (end,) = _read(tmp_path)
    assert isinstance(end, Rejection)
    assert end.reason == "truncated_archive"


def test_both_versions_of_a_batch_are_not_read_twice(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(_of_python_2())
    (tmp_path / "data_batch_1.bin").write_bytes(_binary())
    with pytest.raises(DataError, match="binary version"):
        Cifar10.open(locate(str(tmp_path), "*"))
