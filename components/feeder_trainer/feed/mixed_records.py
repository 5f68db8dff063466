"""Several sources of records as one stream, in exact proportions."""

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.mixture import MIXTURE_PERIOD, MixtureSampler
from tfx_feeder.components.feeder_trainer.feed.tfrecord import TFRecordSource


class MixtureSource:
    """Mixes the records of several sources; has what ``TFRecordSource`` has.

    A source goes round by itself: one that is smaller than its share repeats within a pass of the
    whole, one that is larger takes several. ``num_examples`` is the sum over the sources, so that
    an epoch is as long as it would be without mixing.

    Args:
        sources: The records of each source.
        shares: Examples of each source in a block of ``MIXTURE_PERIOD``.
    """

    def __init__(self, sources: Sequence[TFRecordSource], shares: Sequence[int]) -> None:
        self.num_examples = sum(source.num_examples for source in sources)
        self._sources = sources
        self._shares = shares

    def in_order(self) -> tf.data.Dataset:
        """Returns every record once, one source after another: strings ``[]``."""
        streams = [source.in_order() for source in self._sources]
        return functools.reduce(tf.data.Dataset.concatenate, streams)

    def order(self, seed: int, *, shuffle: bool) -> MixtureSampler:
        """Returns the order of the mixed stream over the records of ``in_order``."""
        orders = [
            source.order(seed + index, shuffle=shuffle)
            for index, source in enumerate(self._sources)
        ]
        return MixtureSampler(orders, self._shares, seed)

    def stream(self, start: tf.Tensor | int, *, seed: int, shuffle_buffer: int) -> tf.data.Dataset:
        """Returns the endless mixed stream from a position on; see ``TFRecordSource.stream``."""
        start = tf.convert_to_tensor(start, tf.int64)
        block = start // MIXTURE_PERIOD
        streams = [
            source.stream(block * share, seed=seed + index, shuffle_buffer=shuffle_buffer)
            for index, (source, share) in enumerate(zip(self._sources, self._shares, strict=True))
        ]
        pattern = tf.constant(np.repeat(np.arange(len(self._shares)), self._shares), tf.int64)

        def mixture(index: tf.Tensor) -> tf.data.Dataset:
            seeds = tf.stack([tf.constant(seed, tf.int64), index])
            shuffled = tf.random.experimental.stateless_shuffle(pattern, seeds)
            return tf.data.Dataset.from_tensor_slices(shuffled)

        choices = tf.data.Dataset.counter(block).flat_map(mixture)
        return tf.data.Dataset.choose_from_datasets(streams, choices).skip(start % MIXTURE_PERIOD)
