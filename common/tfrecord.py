"""Reads the records of a TFRecord file without TensorFlow."""

import gzip
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
FRAME_BYTES = _HEADER.size + _FOOTER.size
"""Bytes that the file format adds to each record: its length and two checksums."""

MAX_RECORD_BYTES = (1 << 31) - 1
"""Longest record that is read; a longer one cannot be a protocol buffer."""
_PIECE_BYTES = 1 << 26

GZIP_MAGIC = b"\x1f\x8b\x08"
"""First bytes of a gzip file. Two of them alone may be the length of an uncompressed record."""


@dataclass(frozen=True, slots=True)
class RecordError:
    """Placeholder for a corrupt record.

    Args:
        reason: Cause in a few words.
    """

    reason: str


def read_records(file: Any, *, verify_checksums: bool = True) -> Iterator[bytes | RecordError]:
    """Reads a file frame by frame, continuing after a record with a wrong checksum.

    Args:
        file: Uncompressed binary file, or a ``gzip.GzipFile``.
        verify_checksums: If False, only truncation and broken compression are detected.

    Yields:
        Each record, or a ``RecordError`` in its place. No record follows the error of a file that
        ends early, or that has a corrupt length or one that no record can have.
    """
    first = True
    try:
        while header := file.read(_HEADER.size):
            if len(header) < _HEADER.size:
                yield RecordError("truncated file")
                return
            length, checksum = _HEADER.unpack(header)
            if verify_checksums and _masked_crc(header[:8]) != checksum:
                # Without a valid length, the next record cannot be located.
                yield RecordError("not a TFRecord file" if first else "broken file")
                return
            if length > MAX_RECORD_BYTES:
                yield RecordError("record of more than 2 GiB")
                return
            record = _read(file, length)
            footer = file.read(_FOOTER.size)
            if len(footer) < _FOOTER.size:
                yield RecordError("truncated file")
                return
            valid = not verify_checksums or _masked_crc(record) == _FOOTER.unpack(footer)[0]
            yield record if valid else RecordError("wrong checksum")
            first = False
    except EOFError:
        yield RecordError("truncated file")
    except (gzip.BadGzipFile, zlib.error):
        yield RecordError("broken compression")


def _read(file: Any, length: int) -> bytes:
    """Reads bytes piece by piece: a wrong length must not cost more memory than the file has."""
    if length <= _PIECE_BYTES:
        return file.read(length)
    pieces = []
    while length and (piece := file.read(min(length, _PIECE_BYTES))):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def _masked_crc(contents: bytes) -> int:
    # Imported here because readers that skip verification do not need it.
    import google_crc32c

    crc = google_crc32c.value(contents)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
