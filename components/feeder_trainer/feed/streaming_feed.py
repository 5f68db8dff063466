"""Feed that reads and decodes the files in every pass, for data that no cache can hold."""

from collections.abc import Sequence
from itertools import pairwise

import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.base import Feed, cache_and_repeat
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser
from tfx_feeder.components.feeder_trainer.feed.sharding import Shard
from tfx_feeder.components.feeder_trainer.feed.tfrecord import RecordSource


class StreamingFeed(Feed):
    """Reads, shuffles and decodes records during training.

    Args:
        records: Records to stream.
        parser: Parser of the records.
        options: Seed, shuffle buffer and prefetching.
        shuffle: If False, the order of the files is kept.
        shard: Part of each global batch that this process receives.
    """

    def __init__(
        self,
        records: RecordSource,
        parser: ExampleParser,
        options: FeedOptions,
        *,
        shuffle: bool,
        shard: Shard,
    ) -> None:
        self.num_examples = records.num_examples
        self._records = records
        self._parser = parser
        self._options = options
        self._shard = shard
        self._buffer = options.shuffle_buffer if shuffle else 0

    def batches(self, epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
        """See ``Feed``."""
        if all(
            before.stop == after.start and len(before) % batch_size == 0
            for before, after in pairwise(epochs)
        ):
            # Contiguous epochs without partial batches form one range: the files stay open.
            epochs = [range(epochs[0].start, epochs[-1].stop)]
        starts = tf.constant([epoch.start for epoch in epochs], tf.int64)
        counts = tf.constant([len(epoch) for epoch in epochs], tf.int64)
        ranges = tf.data.Dataset.from_tensor_slices((starts, counts))
        records = ranges.flat_map(
            lambda start, count: self._stream(start).take(count).batch(batch_size)
        )
        return self._parse(records).prefetch(self._options.prefetch or tf.data.AUTOTUNE)

    def stage_datasets(self, batch_size: int) -> dict[str, tf.data.Dataset]:
        """See ``Feed``."""
        records = self._stream(0).batch(batch_size)
        return {"reading": records, "parsing and decoding": self._parse(cache_and_repeat(records))}

    def _stream(self, start: tf.Tensor | int) -> tf.data.Dataset:
        return self._records.stream(start, seed=self._options.seed, shuffle_buffer=self._buffer)

    def _parse(self, records: tf.data.Dataset) -> tf.data.Dataset:
        return records.map(
            lambda batch: self._parser(self._shard.slice(batch)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
