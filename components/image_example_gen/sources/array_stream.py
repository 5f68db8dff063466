"""Arrays in files, read slice by slice."""

import gzip
import io
import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen.options import MAX_PIXELS
from tfx_feeder.components.image_example_gen.sources import checksums
from tfx_feeder.components.image_example_gen.storage import READ_ERRORS, cause_of, open_file

_NPY_HEADERS: dict[tuple[int, int], tuple[int, Callable[[Any], Any]]] = {
    (1, 0): (2, np.lib.format.read_array_header_1_0),
    (2, 0): (4, np.lib.format.read_array_header_2_0),
}
_MOST_HEADER_BYTES = 10_000
_MOST_ROWS = 1_000_000_000
_MOST_ROW_BYTES = 4 * MAX_PIXELS
_MOST_DIMENSIONS = 8
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

    Raises:
        ValueError: The shape or the type is out of range.
    """

    file: Any
    shape: tuple[int, ...]
    dtype: np.dtype
    damage: str = ""

    def __post_init__(self) -> None:
        if not 1 <= len(self.shape) <= _MOST_DIMENSIONS:
            raise ValueError(
                f"it has {len(self.shape)} dimensions; 1 to {_MOST_DIMENSIONS} are supported"
            )
        if min(self.shape) < 0 or not self.dtype.itemsize:
            raise ValueError(f"the header describes no array: {self.dtype} {list(self.shape)}")
        if self.shape[0] > _MOST_ROWS:
            raise ValueError(
                f"the header says {self.shape[0]:.3g} rows; at most {_MOST_ROWS:,} are read"
            )
        if self.row_bytes > _MOST_ROW_BYTES:
            raise ValueError(
                f"the header says {self.row_bytes:.3g} bytes in a row; at most "
                f"{_MOST_ROW_BYTES:,} are read"
            )

    @property
    def row_bytes(self) -> int:
        """Size of a row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def rows(self, count: int) -> np.ndarray:
        """Reads the next rows.

        Args:
            count: Number of rows.

        Returns:
            Array ``[count, ...]``, with fewer rows if the file is truncated or damaged; ``damage``
            is then set.
        """
        size = count * self.row_bytes
        data = bytearray()
        while len(data) < size and not self.damage:
            try:
                piece = self.file.read(min(_PIECE_BYTES, size - len(data)))
                self.damage = "" if piece else "the file ends early"
                data += piece
            except (EOFError, zipfile.BadZipFile, zlib.error, *READ_ERRORS) as error:
                self.damage = cause_of(error)
        whole = len(data) // self.row_bytes if self.row_bytes else count
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
                return _open_npy(checksums.open_member(self.path, f"{self.name}.npy"))
            raw = open_file(self.path)
            if self.path.endswith(".npy"):
                return _open_npy(raw)
            return _open_idx(gzip.GzipFile(fileobj=raw) if self.path.endswith(".gz") else raw)
        except (EOFError, LookupError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{self}: cannot be read: {error}") from error
        except READ_ERRORS as error:
            raise DataError(f"{self}: cannot be read: {cause_of(error)}") from error

    def find_damage(self) -> str:
        """Reads the file to its end and compares its check sums.

        Returns:
            What is wrong; empty if the check sums agree or the file has none. A file that ends
            early counts as undamaged: its rows are complete up to its end.
        """
        try:
            if self.name is not None:
                checksums.verify_member(self.path, f"{self.name}.npy")
            elif self.path.endswith(".gz"):
                checksums.verify_gzip(self.path)
        except (EOFError, ValueError, zipfile.BadZipFile, zlib.error, *READ_ERRORS) as error:
            return cause_of(error) or type(error).__name__
        return ""

    def __str__(self) -> str:
        return f"{self.path}[{self.name}]" if self.name is not None else self.path


def npz_names(path: str) -> tuple[str, ...]:
    """Lists the arrays of an ``.npz`` file.

    Raises:
        DataError: The file is not a complete zip archive.
    """
    try:
        names = checksums.member_names(path)
    except (LookupError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"{path}: not a complete .npz archive: {error}") from error
    except READ_ERRORS as error:
        raise DataError(f"{path}: not a complete .npz archive: {cause_of(error)}") from error
    return tuple(name.removesuffix(".npy") for name in names if name.endswith(".npy"))


def _open_npy(file: Any) -> ArrayStream:
    version = np.lib.format.read_magic(file)
    if version not in _NPY_HEADERS:
        raise ValueError(f"array format {version} is not supported")
    width, read_header = _NPY_HEADERS[version]
    size = file.read(width)
    length = int.from_bytes(size, "little")
    if length > _MOST_HEADER_BYTES:
        raise ValueError(
            f"the header has {length:,} bytes; at most {_MOST_HEADER_BYTES:,} are read"
        )
    try:
        shape, fortran_order, dtype = read_header(io.BytesIO(size + file.read(length)))
    except (tokenize.TokenError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError("the header describes no array") from error
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
