"""The user's augmentation, with randomness that a restart repeats."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.base import (
    UNBOUNDED_EPOCH,
    BatchSource,
    cache_and_repeat,
)

AugmentFn = Callable[[dict[str, Any], tf.Tensor], dict[str, Any]]
"""``(features, seed) -> features``: a whole batch at a time, seed int64 ``[2]`` for
``tf.image.stateless_random_*`` and ``tf.random.stateless_*``."""


class AugmentedFeed:
    """Augments the features of another feed; see ``Feed``.

    The seed of a batch is ``(seed of the feed, position of the batch's first example)``.

    Args:
        feed: Gives the batches.
        augment_fn: The user's function.
        seed: Of the feed.

    Raises:
        ConfigError: The function changes names, types or shapes of the features.
    """

    def __init__(self, feed: BatchSource, augment_fn: AugmentFn, seed: int) -> None:
        self.num_examples = feed.num_examples
        self._feed = feed
        self._augment_fn = augment_fn
        self._seed = seed
        before: Any = feed.batches([range(1)], 1).element_spec
        after: Any = self.batches([range(1)], 1).element_spec
        check_augmentation(before[0], after[0])

    def batches(self, epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
        """See ``Feed``."""
        batches = self._feed.batches(epochs, batch_size)
        return self._augmented(batches, epochs, batch_size).prefetch(tf.data.AUTOTUNE)

    def _augmented(
        self, batches: tf.data.Dataset, epochs: Sequence[range], batch_size: int
    ) -> tf.data.Dataset:
        placed = tf.data.Dataset.zip((batches, _positions(epochs, batch_size)))
        return placed.map(self._augment, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def stages(self, batch_size: int) -> dict[str, tf.data.Dataset]:
        """See ``Feed``."""
        batches = cache_and_repeat(self._feed.batches([UNBOUNDED_EPOCH], batch_size))
        augmented = self._augmented(batches, [UNBOUNDED_EPOCH], batch_size)
        return {**self._feed.stages(batch_size), "augment_fn": augmented}

    def _augment(self, batch: tuple, position: tf.Tensor) -> tuple:
        return augment(batch, self._augment_fn, self._seed, position)


def augment(batch: tuple, augment_fn: AugmentFn, seed: int, position: tf.Tensor) -> tuple:
    """Augments the features of a batch; label and weight pass through.

    Args:
        batch: An element of a feed.
        augment_fn: The user's function.
        seed: Of the feed.
        position: int64 ``[]``, of the batch's first example.
    """
    features, *rest = batch
    return (augment_fn(dict(features), tf.stack([tf.constant(seed, tf.int64), position])), *rest)


def check_augmentation(before: Any, after: Any) -> None:
    """Raises where an augmentation changes what the model gets.

    Args:
        before: Name of each feature to its ``tf.TypeSpec``.
        after: The same of the augmented features.

    Raises:
        ConfigError: Names, types or shapes differ.
    """
    same = isinstance(after, Mapping) and before.keys() == after.keys()
    if not same or not all(before[key].is_compatible_with(after[key]) for key in before):
        raise ConfigError(
            "augment_fn",
            received=after,
            expected=f"a function that keeps names, types and shapes: {before}",
            fix="Cast back to uint8 at its end, as with tf.saturate_cast(images, tf.uint8).",
        )


def _positions(epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
    """Returns the position of each batch's first example: int64 ``[]``."""
    starts = tf.constant([epoch.start for epoch in epochs], tf.int64)
    stops = tf.constant([epoch.stop for epoch in epochs], tf.int64)
    epochs_ = tf.data.Dataset.from_tensor_slices((starts, stops))
    return epochs_.flat_map(lambda start, stop: tf.data.Dataset.range(start, stop, batch_size))
