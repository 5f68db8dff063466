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
