"""Compressed archives: limits, and check sums that are compared before any row counts."""

import zipfile
import zlib
from typing import Any

from tfx_feeder.components.image_example_gen.storage import open_file, size_of_open

_PIECE_BYTES = 1 << 20
# zlib expands a byte to at most 1032.
_COMPRESSED_PIECE_BYTES = 4096
_MOST_MEMBERS = 10_000
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_GZIP_FORMAT = 31  # zlib's code for a gzip header and its check sum
_GZIP_MAGIC = b"\x1f\x8b"
# Real images shrink to a tenth or less at best; a bomb to a thousandth.
_SMALL_BYTES = 1 << 30
_MOST_EXPANSION = 200


def member_names(path: str) -> list[str]:
    """Lists the members of a zip archive.

    Raises:
        ValueError: The archive expands to too much, or has too many members.
        zipfile.BadZipFile: The file is not a complete zip archive.
    """
    with _open_zip(path) as archive:
        return archive.namelist()


def open_member(path: str, name: str) -> Any:
    """Opens a member of a zip archive.

    Args:
        path: Path of the archive.
        name: Name of the member.

    Raises:
        KeyError: There is no such member.
        ValueError: The member is encrypted or compressed by a method that NumPy does not use, or
            the archive expands to too much.
        zipfile.BadZipFile: The file is not a complete zip archive.
    """
    archive = _open_zip(path)
    info = archive.getinfo(name)
    if info.flag_bits & _ENCRYPTED:
        raise ValueError("it is encrypted")
    if info.compress_type not in _METHODS:
        raise ValueError(f"compression method {info.compress_type} is not supported")
    return archive.open(info)


def verify_member(path: str, name: str) -> None:
    """Reads a member of a zip archive to its end, where ``zipfile`` compares the check sum.

    Args:
        path: Path of the archive.
        name: Name of the member.

    Raises:
        zipfile.BadZipFile: The check sums differ.
        zlib.error: The compressed data is damaged.
        EOFError: The compressed data ends early.
    """
    with open_member(path, name) as member:
        while member.read(_PIECE_BYTES):
            pass


def verify_gzip(path: str) -> None:
    """Reads a gzip file to its end, and compares its check sums.

    Bytes behind the compressed data are ignored, as by ``gzip``. A file that ends early has no
    check sum to compare.

    Raises:
        zlib.error: The check sums differ, or the compressed data is damaged.
        ValueError: The file expands to too much.
    """
    with open_file(path) as file:
        limit = _limit(size_of_open(file))
        inflater = zlib.decompressobj(_GZIP_FORMAT)
        expanded = 0
        while piece := file.read(_COMPRESSED_PIECE_BYTES):
            while piece:
                expanded += len(inflater.decompress(piece))
                if expanded > limit:
                    raise ValueError(f"it expands to more than {limit:,} bytes")
                piece = inflater.unused_data
                if inflater.eof:
                    if len(piece) < len(_GZIP_MAGIC):
                        piece += file.read(_COMPRESSED_PIECE_BYTES)
                    if not piece.startswith(_GZIP_MAGIC):
                        return
                    inflater = zlib.decompressobj(_GZIP_FORMAT)


def _open_zip(path: str) -> zipfile.ZipFile:
    file = open_file(path)
    archive = zipfile.ZipFile(file)
    members = archive.infolist()
    if len(members) > _MOST_MEMBERS:
        raise ValueError(f"{len(members):,} members; at most {_MOST_MEMBERS:,} are read")
    limit = _limit(size_of_open(file))
    if (expanded := sum(member.file_size for member in members)) > limit:
        raise ValueError(f"it expands to {expanded:,} bytes; at most {limit:,} are read")
    return archive


def _limit(size: int) -> int:
    return max(_SMALL_BYTES, size * _MOST_EXPANSION)
