"""Thousands of damaged and invented data folders, each read to its end."""

import gzip
import io
import os
import pickle
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzzing import OUTCOMES, well_behaved
from tfx_feeder.common.errors import FeederError
from tfx_feeder.components.image_example_gen.images import ImageError, size_of
from tfx_feeder.components.image_example_gen.ingest import _ToExamples
from tfx_feeder.components.image_example_gen.rejections import Rejection
from tfx_feeder.components.image_example_gen.sources import class_table, open_sources
from tfx_feeder.components.image_example_gen.sources.cifar10_pickle import (
    LayoutError,
    parse_batch,
    parse_label_names,
)

pytestmark = pytest.mark.slow
ROWS = 6
PIXELS = np.random.default_rng(7).integers(0, 256, (ROWS, 4, 4), dtype=np.uint8)
LABELS = np.arange(ROWS) % 3
PNG = tf.io.encode_png(PIXELS[0][..., np.newaxis]).numpy()
JPEG = tf.io.encode_jpeg(PIXELS[0][..., np.newaxis]).numpy()


def _ingest(folder: str) -> None:
    """Reads a folder as the component does, without Beam."""
    with well_behaved():
        sources = open_sources(folder, {"all": "*"})
        read = _ToExamples(sources["all"], class_table(sources), 10_000)
        for chunk in sources["all"].chunks():
            for result in read.process(chunk):
                value = getattr(result, "value", result)
                if isinstance(value, Rejection):
                    value.to_json().encode()
                else:
                    value.SerializeToString()


def _saved(write: Callable[..., None], *args: Any, **kwargs: Any) -> bytes:
    content = io.BytesIO()
    write(content, *args, **kwargs)
    return content.getvalue()


def _idx(array: np.ndarray) -> bytes:
    head = struct.pack(f">BBBB{array.ndim}i", 0, 0, 8, array.ndim, *array.shape)
    return head + array.astype(np.uint8).tobytes()


def _cifar(protocol: int) -> bytes:
    batch = {"data": np.zeros((2, 3072), np.uint8), "labels": [1, 2]}
    return pickle.dumps(batch, protocol)


ARCHIVES: dict[str, dict[str, bytes]] = {
    "npz": {"a.npz": _saved(np.savez, images=PIXELS, labels=LABELS, n=np.array(list("abcdeü")))},
    "compressed npz": {"a.npz": _saved(np.savez_compressed, images=PIXELS, labels=LABELS)},
    "npy": {"images.npy": _saved(np.save, PIXELS), "labels.npy": _saved(np.save, LABELS)},
    "idx": {"x-images-idx3-ubyte": _idx(PIXELS), "x-labels-idx1-ubyte": _idx(LABELS)},
    "gzipped idx": {
        "x-images-idx3-ubyte.gz": gzip.compress(_idx(PIXELS)),
        "x-labels-idx1-ubyte.gz": gzip.compress(_idx(LABELS)),
    },
    "cifar binary": {"data_batch_1.bin": bytes(2 * 3073)},
    "cifar pickle": {
        "data_batch_1": _cifar(2),
        "batches.meta": pickle.dumps({"label_names": ["a", "b"]}),
    },
    "manifest": {
        "list.csv": "path,label,n,t\na.png,x,1,ü\nb.jpg,y,2.5,\nc.png,x,,z\n".encode(),
        "a.png": PNG,
        "b.jpg": JPEG,
    },
}

edits = st.lists(
    st.tuples(
        st.sampled_from(["flip", "set", "cut", "insert", "double", "number"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=4,
)


def _edited(data: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    for kind, where, value in changes:
        at = int(where * len(data))
        if kind == "flip":
            flipped = bytes([data[at] ^ (1 << value[0] % 8)]) if data else b""
            data = data[:at] + flipped + data[at + 1 :]
        elif kind == "set":
            data = data[:at] + value + data[at + len(value) :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "insert":
            data = data[:at] + value + data[at:]
        elif kind == "double":
            data = data[:at] + data[at // 2 :]
        else:
            data = data[:at] + b"9" * (value[0] % 20) + data[at:]
    return data


@pytest.mark.parametrize("kind", ARCHIVES)
def test_damaged_archives(kind: str) -> None:
    names = list(ARCHIVES[kind])

    @settings(max_examples=250)
    @given(st.sampled_from(names), edits)
    def check(name: str, changes: list[tuple[str, float, bytes]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for other, data in ARCHIVES[kind].items():
                content = _edited(data, changes) if other == name else data
                Path(folder, other).write_bytes(content)
            _ingest(folder)

    check()


shapes = st.lists(st.integers(-3, 10**19), max_size=5).map(tuple) | st.just((ROWS, 4, 4))
descriptions = st.sampled_from(
    ["|u1", "<i8", ">f8", "<f2", "<f16", "|O", "<U3", "|S0", "|S2", "|b1", "<M8[s]", "<c8", "|V4"]
) | st.text(max_size=6)


def _npy_header(shape: object, descr: str, version: int, fortran: bool) -> bytes:
    text = repr({"descr": descr, "fortran_order": fortran, "shape": shape}).encode() + b"\n"
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + text


@settings(max_examples=600)
@given(
    st.sampled_from(["images.npy", "labels.npy", "extra.npy"]),
    shapes,
    descriptions,
    st.sampled_from([1, 2, 3]),
    st.booleans(),
    st.binary(max_size=200),
)
@example("labels.npy", (ROWS,), "<U3", 1, False, b"\xff" * 72)
@example("extra.npy", (ROWS,), "<u8", 1, False, b"\xff" * 48)
def test_invented_headers(
    name: str, shape: tuple[int, ...], descr: str, version: int, fortran: bool, data: bytes
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for other, content in ARCHIVES["npy"].items():
            Path(folder, other).write_bytes(content)
        Path(folder, name).write_bytes(_npy_header(shape, descr, version, fortran) + data)
        _ingest(folder)


values = st.one_of(
    st.sampled_from([",", "\n", ";", '"', "\r", "\t", "\0", "\ufeff"]),
    st.sampled_from(["path", "label", "n", "a.png", "../a.png", "/etc/hostname", "b.jpg", ".", ""]),
    st.sampled_from(["1", "-1", "2.5", "1e999", "nan", "9" * 30, "9" * 5_000, "²", "١", "1_0"]),
    st.text(max_size=5),
)


@settings(max_examples=700)
@given(st.lists(values, max_size=30).map("".join), st.sampled_from(["utf-8", "utf-16", "latin-1"]))
def test_invented_tables(text: str, encoding: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a.png").write_bytes(PNG)
        Path(folder, "list.csv").write_bytes(
            ("path,label,n\na.png,x,1\nb.png,y,2\n" + text).encode(encoding, "replace")
        )
        _ingest(folder)
        Path(folder, "list.csv").write_bytes(text.encode(encoding, "replace"))
        _ingest(folder)


names = st.binary(min_size=1, max_size=12).filter(
    lambda name: not {0, 47} & set(name) and name not in (b".", b"..")
)
entries = st.lists(
    st.tuples(
        st.lists(
            names | st.sampled_from([b"cat", b"dog", b"x.png", b"y.csv"]), min_size=1, max_size=3
        ),
        st.sampled_from(["file", "png", "fifo", "link", "folder"]),
        st.sampled_from([".", "..", "cat", "../cat", "/", "/etc/hostname", "nowhere", "x.png"]),
    ),
    max_size=8,
)


@settings(max_examples=500)
@given(entries)
def test_invented_folders(tree: list[tuple[list[bytes], str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = os.fsencode(folder)
        for name in (b"cat", b"dog"):
            os.mkdir(os.path.join(base, name))
            Path(folder, name.decode(), "x.png").write_bytes(PNG)
        for parts, kind, target in tree:
            path = os.path.join(base, *parts)
            try:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                if kind == "fifo":
                    os.mkfifo(path)
                elif kind == "link":
                    os.symlink(target, path)
                elif kind == "folder":
                    os.mkdir(path)
                elif not os.path.islink(path):
                    with open(
                        os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NONBLOCK), "wb"
                    ) as file:
                        file.write(PNG if kind == "png" else b"x")
            except OSError:
                continue
        _ingest(folder)


@settings(max_examples=1_000)
@given(st.sampled_from([PNG, JPEG]), edits)
def test_damaged_images(image: bytes, changes: list[tuple[str, float, bytes]]) -> None:
    with well_behaved():
        try:
            height, width = size_of(_edited(image, changes), max_pixels=1_000_000)
        except ImageError as error:
            raise FeederError(str(error)) from error
        assert height * width <= 1_000_000


opcodes = st.sampled_from(
    [
        *(
            b"(",
            b".",
            b"0",
            b"1",
            b"2",
            b"}",
            b"]",
            b")",
            b"N",
            b"a",
            b"b",
            b"d",
            b"e",
            b"l",
            b"q\0",
        ),
        *(b"R", b"s", b"t", b"u", b"\x85", b"\x86", b"\x87", b"\x88", b"\x89", b"\x93", b"\x94"),
        *(b"h\0", b"K\1", b"M\0\x0c", b"J\xff\xff\xff\xff", b"\x8a\1\1", b"I01\n", b"L5L\n"),
        *(b"U\4data", b"U\6labels", b"X\1\0\0\0b", b"C\1b", b"U\1|", b"U\2u1", b"T\4\0\0\0AAAA"),
        *(b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"c_codecs\nencode\n", b"cos\nsystem\n"),
        *(b"cnumpy.core.multiarray\n_reconstruct\n", b"U\x0blabel_names", b"\x80\2", b"i", b"o"),
    ]
)


@settings(max_examples=2_000)
@given(st.lists(opcodes | st.binary(max_size=3), max_size=40).map(b"".join), st.booleans())
def test_invented_pickles(program: bytes, ended: bool) -> None:
    for parse in (parse_batch, parse_label_names):
        with well_behaved():
            try:
                parse(program + b"." if ended else program)
            except LayoutError as error:
                raise FeederError(str(error)) from error


@settings(max_examples=1_000)
@given(st.sampled_from([0, 2, 4]).map(_cifar), edits)
def test_damaged_pickles(content: bytes, changes: list[tuple[str, float, bytes]]) -> None:
    with well_behaved():
        try:
            pixels, labels = parse_batch(_edited(content, changes))
        except LayoutError as error:
            raise FeederError(str(error)) from error
        assert len(pixels) == len(labels)
        assert pixels.shape[1:] == (3, 32, 32)


def test_the_outcomes() -> None:
    print(f"fuzzed data: {dict(OUTCOMES)}")
