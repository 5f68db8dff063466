"""The feed that decodes once: examples in memory or on disk, each batch one gather."""

from collections.abc import Sequence

import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.arrays import load_arrays
from tfx_feeder.components.feeder_trainer.feed.base import UNBOUNDED_EPOCH
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser, parsed_batches
from tfx_feeder.components.feeder_trainer.feed.sampler import batch_blocks
from tfx_feeder.components.feeder_trainer.feed.sharding import Shard
from tfx_feeder.components.feeder_trainer.feed.tfrecord import RecordSource


class CachedFeed:
    """Holds the decoded examples; see ``Feed``.

    Args:
        records: The files; read once, now.
        parser: Makes tensors of them; all features must be dense.
        options: Seed, shuffling and prefetching.
        shuffle: ``False`` keeps the files' order.
        folder: Holds the examples in files there; ``None``: in memory.
        share: Part of each global batch that this process gets.
    """

    def __init__(
        self,
        records: RecordSource,
        parser: ExampleParser,
        options: FeedOptions,
        *,
        shuffle: bool,
        folder: str | None = None,
        share: Shard,
    ) -> None:
        self.num_examples = records.num_examples
        self._records = records
        self._options = options
        self._share = share
        self._shuffle = shuffle and options.shuffle_buffer > 0
        batches = parsed_batches(records.in_order(), parser)
        self._examples = load_arrays(batches, self.num_examples, folder)

    def batches(self, epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
        """See ``Feed``."""
        order = self._records.order(self._options.seed, shuffle=self._shuffle)
        blocks = tf.data.Dataset.from_generator(
            lambda: batch_blocks(order, epochs, batch_size),
            output_signature=tf.TensorSpec([None, None], tf.int64),
        )
        rows = blocks.flat_map(tf.data.Dataset.from_tensor_slices)
        batches = rows.map(self._gather)
        return batches.prefetch(self._options.prefetch or tf.data.AUTOTUNE)

    def stages(self, batch_size: int) -> dict[str, tf.data.Dataset]:
        """See ``Feed``."""
        return {"gathering": self.batches([UNBOUNDED_EPOCH], batch_size)}

    def _gather(self, indices: tf.Tensor) -> tuple:
        mine = self._share.of(indices)
        return tf.nest.map_structure(lambda tensor: tf.gather(tensor, mine), self._examples)
