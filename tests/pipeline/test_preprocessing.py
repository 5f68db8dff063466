"""Preprocessing brings encoded images to raw pixels of one size."""

import numpy as np
import tensorflow as tf

from tfx_feeder.pipeline.preprocessing import preprocessing_fn, raw_bytes


def _transform(images, labels, *, height, width, channels):
    config = {"height": height, "width": width, "channels": channels}
    inputs = {"image": tf.constant(images), "label": tf.constant(labels, tf.int64)}
    return tf.function(lambda: preprocessing_fn(inputs, config))()


def test_raw_bytes_is_the_inverse_of_decode_raw():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert raw_bytes(tf.constant(pixels)).numpy() == pixels.tobytes()
    assert tf.function(raw_bytes)(tf.constant(pixels)).numpy() == pixels.tobytes()


def test_images_of_the_wanted_size_keep_every_pixel():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), np.uint8)
    encoded = [tf.io.encode_png(image).numpy() for image in pixels]
    out = _transform(encoded, [3, 1], height=4, width=6, channels=3)
    assert [bytes(image) for image in out["image"].numpy()] == [p.tobytes() for p in pixels]
    assert out["label"].numpy().tolist() == [3, 1]


def test_sizes_kinds_and_colours_are_brought_together():
    grey = tf.io.encode_png(np.full((9, 5, 1), 200, np.uint8)).numpy()
    colour = tf.io.encode_jpeg(np.full((64, 48, 3), 90, np.uint8)).numpy()
    out = _transform([[grey], [colour]], [[0], [1]], height=8, width=8, channels=3)
    pixels = [np.frombuffer(image, np.uint8) for image in out["image"].numpy()]
    assert [image.size for image in pixels] == [8 * 8 * 3] * 2
    assert set(pixels[0]) == {200}
    assert np.abs(pixels[1].astype(int) - 90).max() <= 2
    assert out["label"].shape == (2,)
