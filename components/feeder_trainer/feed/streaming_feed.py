"""The feed that reads the files in every pass: for examples that do not fit elsewhere."""

from collections.abc import Sequence
from itertools import pairwise

import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.base import cache_and_repeat
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser
from tfx_feeder.components.feeder_trainer.feed.sharding import Shard
from tfx_feeder.components.feeder_trainer.feed.tfrecord import RecordSource


class StreamingFeed:
    """Reads, shuffles and decodes while the training runs; see ``Feed``.

    Args:
        records: The files.
        parser: Makes tensors of a batch of records.
        options: Seed, shuffle buffer and prefetching.
        shuffle: ``False`` keeps the files' order.
        share: Part of each global batch that this process gets.
    """

    def __init__(
        self,
        records: RecordSource,
        parser: ExampleParser,
        options: FeedOptions,
        *,
        shuffle: bool,
        share: Shard,
    ) -> None:
        self.num_examples = records.num_examples
        self._records = records
        self._parser = parser
        self._options = options
        self._share = share
        self._buffer = options.shuffle_buffer if shuffle else 0

    def batches(self, epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
        """See ``Feed``."""
        if all(
            before.stop == after.start and len(before) % batch_size == 0
            for before, after in pairwise(epochs)
        ):
            # Contiguous epochs without partial batches are one stretch: the files stay open.
            epochs = [range(epochs[0].start, epochs[-1].stop)]
        starts = tf.constant([epoch.start for epoch in epochs], tf.int64)
        counts = tf.constant([len(epoch) for epoch in epochs], tf.int64)
        stretches = tf.data.Dataset.from_tensor_slices((starts, counts))
        records = stretches.flat_map(
            lambda start, count: (
                self._records.stream(start, seed=self._options.seed, shuffle_buffer=self._buffer)
                .take(count)
                .batch(batch_size)
            )
        )
        return self._parse(records).prefetch(self._options.prefetch or tf.data.AUTOTUNE)

    def _parse(self, records: tf.data.Dataset) -> tf.data.Dataset:
        return records.map(
            lambda batch: self._parser(self._share.of(batch)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

    def stages(self, batch_size: int) -> dict[str, tf.data.Dataset]:
        """See ``Feed``."""
        stream = self._records.stream(0, seed=self._options.seed, shuffle_buffer=self._buffer)
        records = stream.batch(batch_size)
        return {"reading": records, "parsing and decoding": self._parse(cache_and_repeat(records))}
