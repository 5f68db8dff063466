"""Arrays in files, read slice by slice."""

import gzip
import math
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import DataError

_NPY_HEADERS: dict[tuple[int, int], Callable[[Any], Any]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# Damage costs all rows of the piece that contains it, so pieces are small.
_PIECE_BYTES = 65_536
_IDX_DTYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


@dataclass(slots=True)
class ArrayStream:
    """Sequential reader of the rows of an array.

    Args:
        file: Binary file, positioned at the first row.
        shape: Shape of the whole array.
        dtype: Element type.
        damage: Cause of a premature end; empty if there was none.
    """

    file: Any
    shape: tuple[int, ...]
    dtype: np.dtype
    damage: str = ""

    def rows(self, count: int) -> np.ndarray:
        """Reads the next rows.

        Args:
            count: Number of rows.

        Returns:
            Array ``[count, ...]``, with fewer rows if the file is truncated or damaged; ``damage``
            is then set.
        """
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        size = count * row_bytes
        data = bytearray()
        while len(data) < size and not self.damage:
            try:
                piece = self.file.read(min(_PIECE_BYTES, size - len(data)))
                self.damage = "" if piece else "the file ends early"
                data += piece
            except (EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
                self.damage = str(error)
        whole = len(data) // row_bytes
        return np.frombuffer(data, self.dtype, whole * math.prod(self.shape[1:])).reshape(
            whole, *self.shape[1:]
        )


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """Array on disk: an ``.npy`` file, a member of an ``.npz`` file, or an IDX file.

    Args:
        path: Path of the file.
        name: Member of an ``.npz`` file; None for other files.
    """

    path: str
    name: str | None = None

    def open(self) -> ArrayStream:
        """Opens the array.

        Returns:
            Stream positioned at the first row.

        Raises:
            DataError: The header cannot be read, or describes an unsupported array.
        """
        try:
            if self.name is not None:
                archive = zipfile.ZipFile(tf.io.gfile.GFile(self.path, "rb"))
                return _open_npy(archive.open(f"{self.name}.npy"))
            raw = tf.io.gfile.GFile(self.path, "rb")
            if self.path.endswith(".npy"):
                return _open_npy(raw)
            return _open_idx(gzip.GzipFile(fileobj=raw) if self.path.endswith(".gz") else raw)
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"{self}: cannot be read: {error}") from error
        except tf.errors.OpError as error:
            raise DataError(f"{self}: cannot be read: {error.message}") from error

    def __str__(self) -> str:
        return f"{self.path}[{self.name}]" if self.name is not None else self.path


def npz_names(path: str) -> tuple[str, ...]:
    """Lists the arrays of an ``.npz`` file.

    Raises:
        DataError: The file is not a complete zip archive.
    """
    try:
        with tf.io.gfile.GFile(path, "rb") as raw, zipfile.ZipFile(raw) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path}: not a complete .npz archive: {error}") from error
    return tuple(name.removesuffix(".npy") for name in names if name.endswith(".npy"))


def _open_npy(file: Any) -> ArrayStream:
    version = np.lib.format.read_magic(file)
    if version not in _NPY_HEADERS:
        raise ValueError(f"array format {version} is not supported")
    shape, fortran_order, dtype = _NPY_HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError("it contains Python objects, which can run code; save numbers or text")
    if fortran_order and len(shape) > 1:
        raise ValueError("it is in Fortran order; save numpy.ascontiguousarray(...) of it")
    if not shape:
        raise ValueError("it is a single value, not an array")
    return ArrayStream(file, shape, dtype)


def _open_idx(file: Any) -> ArrayStream:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _IDX_DTYPES or not head[3]:
        raise ValueError(f"not an IDX header: {head.hex(' ') or 'empty'}")
    sizes = file.read(4 * head[3])
    if len(sizes) < 4 * head[3]:
        raise ValueError("the IDX header is truncated")
    shape = tuple(np.frombuffer(sizes, ">i4").tolist())
    return ArrayStream(file, shape, np.dtype(_IDX_DTYPES[head[2]]))
