"""Augmentation by a user function, with randomness that a resumed run reproduces."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.base import UNBOUNDED_EPOCH, Feed
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.sharding import NO_SHARDING, Shard

AugmentFn = Callable[[dict[str, Any], tf.Tensor], dict[str, Any]]
"""``(features, seed) -> features``, for a whole batch. The seed, int64 ``[2]``, is for
``tf.image.stateless_random_*`` and ``tf.random.stateless_*``."""


class AugmentedFeed(Feed):
    """Feed that augments the features of another feed.

    The seed of a batch is ``(seed of the feed, position of the batch's first example)``.

    Args:
        feed: Feed that produces the batches.
        augment_fn: User function.
        options: Seed and prefetching.
        shard: Part of each global batch that this process receives; its seed differs.

    Raises:
        ConfigError: The function changes names, types or shapes of the features.
    """

    def __init__(
        self, feed: Feed, augment_fn: AugmentFn, options: FeedOptions, shard: Shard = NO_SHARDING
    ) -> None:
        self.num_examples = feed.num_examples
        self._feed = feed
        self._augment_fn = augment_fn
        self.reads_files = feed.reads_files
        self.order = feed.order
        self._seed = options.seed + shard.index
        self._prefetch = options.prefetch or tf.data.AUTOTUNE
        before: Any = feed.batches([range(1)], 1).element_spec
        after: Any = self.batches([range(1)], 1).element_spec
        check_augmentation(before[0], after[0])

    def batches(self, epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
        """See ``Feed``."""
        batches = self._feed.batches(epochs, batch_size)
        return self._augmented(batches, epochs, batch_size).prefetch(self._prefetch)

    def sample(self, size: int) -> Any:
        """See ``Feed``; the examples are not augmented."""
        return self._feed.sample(size)

    def _augmented(
        self, batches: tf.data.Dataset, epochs: Sequence[range], batch_size: int
    ) -> tf.data.Dataset:
        positioned = tf.data.Dataset.zip((batches, _positions(epochs, batch_size)))
        return positioned.map(
            self._augment, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    def stage_datasets(self, batch_size: int) -> dict[str, tf.data.Dataset]:
        """See ``Feed``."""
        batches = tf.data.Dataset.from_tensors(self._feed.sample(batch_size)).repeat()
        augmented = self._augmented(batches, [UNBOUNDED_EPOCH], batch_size)
        return {**self._feed.stage_datasets(batch_size), "augment_fn": augmented}

    def _augment(self, batch: tuple, position: tf.Tensor) -> tuple:
        return augment(batch, self._augment_fn, self._seed, position)


def augment(batch: tuple, augment_fn: AugmentFn, seed: int, position: tf.Tensor) -> tuple:
    """Augments the features of a batch; label and weight pass through.

    Args:
        batch: Element of a feed.
        augment_fn: User function.
        seed: Seed of the feed.
        position: Position of the batch's first example, int64 ``[]``.
    """
    features, *rest = batch
    return (augment_fn(dict(features), tf.stack([tf.constant(seed, tf.int64), position])), *rest)


def check_augmentation(before: Any, after: Any) -> None:
    """Checks that an augmentation preserves the inputs of the model.

    Args:
        before: ``tf.TypeSpec`` of each feature by its name.
        after: The same mapping for the augmented features.

    Raises:
        ConfigError: Names, types or shapes differ.
    """
    same = isinstance(after, Mapping) and before.keys() == after.keys()
    if not same or not all(before[key].is_compatible_with(after[key]) for key in before):
        raise ConfigError(
            "augment_fn",
            received=after,
            expected=f"a function that preserves names, types and shapes: {before}",
            fix="Cast the result back to uint8, as in tf.saturate_cast(images, tf.uint8).",
        )


def _positions(epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
    """Returns the position of each batch's first example: int64 ``[]``."""
    starts = tf.constant([epoch.start for epoch in epochs], tf.int64)
    stops = tf.constant([epoch.stop for epoch in epochs], tf.int64)
    ranges = tf.data.Dataset.from_tensor_slices((starts, stops))
    return ranges.flat_map(lambda start, stop: tf.data.Dataset.range(start, stop, batch_size))
