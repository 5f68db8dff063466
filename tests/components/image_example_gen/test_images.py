import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.components.image_example_gen.images import ImageError, encode_png, size_of


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_keeps_every_pixel(channels: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 4, 7, channels), dtype=np.uint8)
    encoded = encode_png(pixels)
    assert [size_of(data) for data in encoded] == [(4, 7)] * 3
    decoded = np.stack([tf.io.decode_png(data).numpy() for data in encoded])
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize("cut", [1, 4, 12, 30])
@pytest.mark.parametrize("encode", [tf.io.encode_png, tf.io.encode_jpeg])
def test_an_image_cut_short_is_corrupt(
    encode: Callable[..., tf.Tensor], cut: int, pixels: np.ndarray
) -> None:
    whole = encode(pixels[0]).numpy()
    assert size_of(whole) == (6, 5)
    with pytest.raises(ImageError) as caught:
        size_of(whole[:-cut])
    assert caught.value.reason == "corrupt_image"
    assert "function_node" not in str(caught.value)


def test_a_flipped_byte_is_corrupt(png: bytes) -> None:
    damaged = bytearray(png)
    damaged[len(png) // 2] ^= 0xFF
    with pytest.raises(ImageError):
        size_of(bytes(damaged))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "corrupt_image"),
        (b"hello", "corrupt_image"),
        (b"GIF89a" + b"\0" * 20, "unsupported_format"),
        (b"RIFF....WEBP", "unsupported_format"),
    ],
)
def test_other_content_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        size_of(data)
    assert caught.value.reason == reason


def _png_of_zeros(height: int, width: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (height * (width + 1)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_more_pixels_than_the_limit_are_not_decoded(png: bytes) -> None:
    assert size_of(_png_of_zeros(100, 200)) == (100, 200)
    jpeg = tf.io.encode_jpeg(np.zeros((100, 200, 3), np.uint8)).numpy()
    for data in (_png_of_zeros(100, 200), jpeg):
        with pytest.raises(ImageError, match=r"100 x 200 pixels; at most 19,999") as caught:
            size_of(data, max_pixels=19_999)
        assert caught.value.reason == "too_large"
    bomb = _png_of_zeros(1, 1).replace(
        struct.pack(">II", 1, 1), struct.pack(">II", 2**31 - 1, 2**31 - 1)
    )
    with pytest.raises(ImageError, match="pixels") as caught:
        size_of(bomb)
    assert caught.value.reason == "too_large"


def test_a_progressive_jpeg_has_a_limited_number_of_scans() -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    jpeg = tf.io.encode_jpeg(pixels, format="rgb", progressive=True).numpy()
    last = jpeg[jpeg.rfind(b"\xff\xda") : -2]
    with_video = jpeg + b"\xff\xda" * 1_000  # As phones append it to a photograph.
    assert size_of(jpeg) == size_of(with_video) == size_of(jpeg[:-2] + last * 50 + jpeg[-2:])
    with pytest.raises(ImageError, match="more than 100 scans") as rejected:
        size_of(jpeg[:-2] + last * 100 + jpeg[-2:])
    assert rejected.value.reason == "too_large"
