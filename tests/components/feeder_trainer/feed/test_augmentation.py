"""Augmentation repeats itself exactly after a restart, and cannot change the model's inputs."""

import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.feed import open_feed


def _noise(features, seed):
    image = features["image"]
    noise = tf.random.stateless_uniform(tf.shape(image), seed, 0, 256, tf.int32)
    return {"image": tf.cast(noise, tf.uint8)}


def _images(batches):
    return [features["image"].numpy() for features, _ in batches]


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_a_restart_repeats_the_augmentation(cache, write_examples, make_parser):
    paths = write_examples(range(20))
    parser = make_parser(cache=cache)
    whole = _images(
        open_feed(paths, parser, parser.feed, shuffle=True, augment_fn=_noise).batches(
            [range(20), range(20, 40)], 8
        )
    )
    assert [len(image) for image in whole] == [8, 8, 4, 8, 8, 4]
    again = open_feed(paths, parser, parser.feed, shuffle=True, augment_fn=_noise)
    rest = _images(again.batches([range(16, 20), range(20, 40)], 8))
    for image, expected in zip(rest, whole[2:], strict=True):
        np.testing.assert_array_equal(image, expected)
    assert not np.array_equal(whole[0], whole[3]), "Two passes got the same noise."


def test_the_seed_of_the_feed_changes_the_augmentation(write_examples, make_parser):
    paths = write_examples(range(8))
    images = []
    for seed in (0, 1):
        parser = make_parser(seed=seed)
        feed = open_feed(paths, parser, parser.feed, shuffle=True, augment_fn=_noise)
        images += _images(feed.batches([range(8)], 8))
    assert not np.array_equal(*images)


@pytest.mark.parametrize(
    "augment_fn",
    [
        lambda features, seed: {"image": tf.cast(features["image"], tf.float32)},
        lambda features, seed: {"image": features["image"][:, :2]},
        lambda features, seed: {"picture": features["image"]},
        lambda features, seed: features["image"],
    ],
)
def test_a_function_that_changes_the_features_is_refused(augment_fn, write_examples, make_parser):
    parser = make_parser()
    with pytest.raises(ConfigError, match="augment_fn"):
        open_feed(
            write_examples(range(4)), parser, parser.feed, shuffle=True, augment_fn=augment_fn
        )
