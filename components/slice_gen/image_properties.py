"""Measured properties of images, by which images without metadata are sliced."""

import numpy as np
import tensorflow as tf

PROPERTIES = ("brightness", "contrast", "sharpness", "size", "aspect", "color")
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue (ITU-R BT.601)."""


def image_properties(data: object) -> np.ndarray | None:
    """Measures an encoded image.

    Args:
        data: Image in a format that TensorFlow decodes.

    Returns:
        Properties in the order of ``PROPERTIES``, float64 ``[6]``; ``None`` if the image cannot be
        decoded.
    """
    if not isinstance(data, bytes):
        return None
    try:
        pixels = tf.io.decode_image(data, expand_animations=False).numpy()
    except tf.errors.OpError:
        return None
    return measure(pixels) if pixels.size else None


def measure(pixels: np.ndarray) -> np.ndarray:
    """Measures an image.

    - ``brightness``: mean luma, 0 to 1.
    - ``contrast``: standard deviation of the luma, 0 to 0.5.
    - ``sharpness``: standard deviation of the Laplacian of the luma (Pech-Pacheco et al., "Diatom
      autofocusing in brightfield microscopy", ICPR 2000); 0 for images below 3 x 3 pixels.
    - ``size``: number of pixels.
    - ``aspect``: width by height.
    - ``color``: colorfulness of Hasler and Suesstrunk ("Measuring colourfulness in natural images",
      SPIE 5007, 2003), for values from 0 to 1; 0 for gray images.

    Args:
        pixels: uint8 ``[height, width, channels]`` with 1 to 4 channels; the second and the fourth
            are opacity.

    Returns:
        Properties in the order of ``PROPERTIES``, float64 ``[6]``.
    """
    height, width, channels = pixels.shape
    colors, gray = _colors(pixels), luma(pixels)
    return np.array(
        [
            gray.mean(),
            gray.std(),
            _sharpness(gray),
            height * width,
            width / height,
            _colorfulness(colors) if channels >= 3 else 0.0,
        ],
        np.float64,
    )


def luma(pixels: np.ndarray) -> np.ndarray:
    """Returns the luma of an image, float32 ``[height, width]``, 0 to 1.

    Args:
        pixels: uint8 ``[height, width, channels]``, as for ``measure``.
    """
    colors = _colors(pixels)
    return colors @ _LUMA if colors.shape[-1] == 3 else colors[..., 0]


def _colors(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., : 3 if pixels.shape[-1] >= 3 else 1].astype(np.float32) / 255


def _sharpness(gray: np.ndarray) -> float:
    if min(gray.shape) < 3:
        return 0.0
    center = gray[1:-1, 1:-1]
    laplacian = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:] - 4 * center
    return float(laplacian.std())


def _colorfulness(colors: np.ndarray) -> float:
    red, green, blue = np.moveaxis(colors, -1, 0)
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    return float(spread + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean()))
