"""Small real data sets, written the way users have them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf


@pytest.fixture
def pixels() -> np.ndarray:
    """Twelve different colour images, uint8 [12, 6, 5, 3]."""
    return np.random.default_rng(0).integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)


@pytest.fixture
def png(pixels: np.ndarray) -> bytes:
    return tf.io.encode_png(pixels[0]).numpy()


@pytest.fixture
def make_folders(tmp_path: Path, pixels: np.ndarray) -> Callable[..., Path]:
    """Writes class folders with six PNG or JPEG files each."""

    def make(*names: str, under: str = "pets") -> Path:
        root = tmp_path / under
        for position, name in enumerate(names):
            (root / name).mkdir(parents=True)
            for number, image in enumerate(pixels[position * 6 % 12 :][:6]):
                as_png = number % 2 == 0
                data = tf.io.encode_png(image) if as_png else tf.io.encode_jpeg(image)
                suffix = "png" if as_png else "JPG"
                (root / name / f"{number}.{suffix}").write_bytes(data.numpy())
        return root

    return make
