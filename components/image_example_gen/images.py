"""Validation and encoding of PNG and JPEG images.

Images are validated by the decoder that the training uses.
"""

import re
import struct

import numpy as np
import tensorflow as tf

from tfx_feeder.components.image_example_gen.options import MAX_PIXELS
from tfx_feeder.components.image_example_gen.rejections import Reason
from tfx_feeder.components.image_example_gen.storage import READ_ERRORS, open_file

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
_JPEG_SCAN, _JPEG_END = b"\xda", b"\xd9"
# Encoders write a dozen. A scan of a hundred bytes takes as long as the pixels of the image.
_MOST_SCANS = 100
_OTHERS = {b"GIF8": "GIF", b"BM": "BMP", b"RIFF": "WebP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
_TF_FRAME = re.compile(r"\{\{.*?\}\}\s*|\s*\[Op:.*?\].*$", re.DOTALL)


class ImageError(ValueError):
    """Unusable image; ``reason`` is its category in the list of rejections."""

    def __init__(self, reason: Reason, cause: str) -> None:
        self.reason: Reason = reason
        super().__init__(cause)


def is_image_file(path: str) -> bool:
    """Returns True if a file begins as a PNG or JPEG does; False if it cannot be read."""
    try:
        with open_file(path) as file:
            return file.read(len(_PNG)).startswith((_PNG, _JPEG))
    except READ_ERRORS:
        return False


def size_of(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Decodes a PNG or JPEG completely and returns its size.

    Args:
        data: Encoded image.
        max_pixels: Limit of height times width; a larger image is not decoded.

    Returns:
        Height and width in pixels.

    Raises:
        ImageError: The image has another format, is corrupt, truncated, or too large.
    """
    if data.startswith(_PNG):
        decode = tf.io.decode_png
    elif data.startswith(_JPEG):
        decode = tf.io.decode_jpeg
    elif not data:
        raise ImageError("corrupt_image", "empty file")
    else:
        known = next((name for head, name in _OTHERS.items() if data.startswith(head)), None)
        if known:
            raise ImageError("unsupported_format", f"{known} content; PNG and JPEG are supported")
        raise ImageError("corrupt_image", f"neither PNG nor JPEG: starts with {data[:8].hex(' ')}")
    try:
        height, width = _announced_size(data)
        if height * width > max_pixels:
            cause = f"{height:,} x {width:,} pixels; at most {max_pixels:,} are decoded"
            raise ImageError("too_large", cause)
        if data.startswith(_JPEG) and _has_too_many_scans(data):
            raise ImageError("too_large", f"more than {_MOST_SCANS} scans")
        height, width, _ = decode(data).shape
    except tf.errors.OpError as error:
        cause = _TF_FRAME.sub("", error.message).strip()
        raise ImageError("corrupt_image", cause or type(error).__name__) from error
    return height, width


def _announced_size(data: bytes) -> tuple[int, int]:
    """Returns height and width from the header; 0 if a PNG has none, which the decoder reports."""
    if data.startswith(_JPEG):
        height, width, _ = tf.io.extract_jpeg_shape(data).numpy().tolist()
        return height, width
    if data[12:16] != b"IHDR" or len(data) < 24:
        return 0, 0
    width, height = struct.unpack(">II", data[16:24])
    return height, width


def _has_too_many_scans(data: bytes) -> bool:
    """Returns True if decoding would go over the pixels of a JPEG more often than encoders do."""
    scans, position = 0, 2
    while scans <= _MOST_SCANS:
        marker = _JPEG_MARKER.search(data, position)
        if marker is None or marker[1] == _JPEG_END:
            return False
        scans += marker[1] == _JPEG_SCAN
        position = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return True


def encode_png(pixels: np.ndarray) -> list[bytes]:
    """Encodes a batch of images.

    Args:
        pixels: uint8 ``[n, height, width, channels]`` with 1 to 4 channels.

    Returns:
        One PNG per image.
    """
    return tf.io.encode_png(pixels).numpy().tolist() if len(pixels) else []
