"""Measured properties of images."""

import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.components.slice_gen.image_properties import (
    PROPERTIES,
    image_properties,
    measure,
)

_STRIPES = np.tile(np.uint8([0, 0, 255, 255]), (8, 4))[..., None]


def _measured(pixels: np.ndarray) -> dict[str, float]:
    return dict(zip(PROPERTIES, measure(pixels), strict=True))


def test_of_gray_images() -> None:
    flat = _measured(np.full((4, 8, 1), 51, np.uint8))
    assert flat == pytest.approx(
        {"brightness": 0.2, "contrast": 0, "sharpness": 0, "size": 32, "aspect": 2, "color": 0},
        abs=1e-6,
    )
    striped = _measured(_STRIPES)
    assert striped["brightness"] == striped["contrast"] == 0.5
    blurred = np.uint8(_STRIPES * 0.5 + np.roll(_STRIPES, 1, axis=1) * 0.5)
    assert _measured(blurred)["sharpness"] < striped["sharpness"]
    assert _measured(np.zeros((1, 1, 1), np.uint8))["sharpness"] == 0


def test_of_colors() -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    found = _measured(red)
    assert found["brightness"] == pytest.approx(0.299)
    assert found["color"] == pytest.approx(0.3 * np.hypot(1, 0.5))
    assert _measured(np.repeat(_STRIPES, 3, axis=2))["color"] == 0
    # The last channel is opacity.
    assert _measured(np.concatenate([red, red[..., :1]], axis=2)) == found
    assert _measured(np.repeat(_STRIPES, 2, axis=2)) == _measured(_STRIPES)


def test_of_files() -> None:
    png = tf.io.encode_png(_STRIPES).numpy()
    np.testing.assert_array_equal(image_properties(png), measure(_STRIPES))
    for damaged in (b"", b"no image", png[:40], 3):
        assert image_properties(damaged) is None
