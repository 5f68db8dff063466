"""The model feeder: from the splits of an Examples artifact to batches, always one ahead."""

from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf

from tfx_feeder.components.common.errors import ConfigError, DataError
from tfx_feeder.components.feeder_trainer.options import Feed
from tfx_feeder.components.feeder_trainer.order import ExampleOrder, batch_blocks
from tfx_feeder.components.feeder_trainer.parsing import BatchParser
from tfx_feeder.components.feeder_trainer.records import RecordFiles

_MIB = 1 << 20
_LOAD_BATCH = 1024


class ExampleFeed(Protocol):
    """An endless stream of examples, cut into batches on demand.

    Every element of a dataset is ``(features, label)`` or ``(features, label, weight)``: features
    a dict of tensors ``[batch, ...]``, label ``[batch, ...]``, weight ``[batch]``.
    """

    num_examples: int
    description: str

    def batches(self, epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
        """Returns the batches of consecutive epochs.

        Args:
            epochs: Positions of each epoch in the endless stream, in examples. No batch reaches
                over an epoch's end.
            batch_size: Examples in a batch; the last one of an epoch may be smaller.
        """
        ...


class ResidentFeed:
    """Holds the decoded examples in memory; a batch is one gather.

    Args:
        records: The files; read once, now.
        parser: Makes tensors of them; all features must be dense.
        options: Seed, shuffling and prefetching.
        shuffle: ``False`` keeps the files' order.
    """

    def __init__(
        self, records: RecordFiles, parser: BatchParser, options: Feed, *, shuffle: bool
    ) -> None:
        self.num_examples = records.num_examples
        self._options = options
        self._shuffle = shuffle and options.shuffle_buffer > 0
        self._examples = _load(records, parser)
        size = sum(_size(tensor) for tensor in tf.nest.flatten(self._examples))
        self.description = f"memory ({size / _MIB:,.1f} MiB)"

    def batches(self, epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
        """See ``ExampleFeed``."""
        order = ExampleOrder(self.num_examples, self._options.seed, shuffle=self._shuffle)
        blocks = tf.data.Dataset.from_generator(
            lambda: batch_blocks(order, epochs, batch_size),
            output_signature=tf.TensorSpec([None, None], tf.int64),
        )
        rows = blocks.flat_map(tf.data.Dataset.from_tensor_slices)
        batches = rows.map(self._gather)
        return batches.prefetch(self._options.prefetch or tf.data.AUTOTUNE)

    def _gather(self, indices: tf.Tensor) -> tuple:
        return tf.nest.map_structure(lambda tensor: tf.gather(tensor, indices), self._examples)


class StreamedFeed:
    """Reads the files in every pass: for examples that do not fit into memory.

    Args:
        records: The files.
        parser: Makes tensors of a batch of records.
        options: Seed, shuffle buffer and prefetching.
        shuffle: ``False`` keeps the files' order.
    """

    def __init__(
        self, records: RecordFiles, parser: BatchParser, options: Feed, *, shuffle: bool
    ) -> None:
        self.num_examples = records.num_examples
        self.description = "none"
        self._records = records
        self._parser = parser
        self._options = options
        self._buffer = options.shuffle_buffer if shuffle else 0

    def batches(self, epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
        """See ``ExampleFeed``."""
        if all(len(epoch) % batch_size == 0 for epoch in epochs[:-1]):
            # Contiguous epochs without partial batches are one stretch: the files stay open.
            epochs = [range(epochs[0].start, epochs[-1].stop)]
        starts = tf.constant([epoch.start for epoch in epochs], tf.int64)
        counts = tf.constant([len(epoch) for epoch in epochs], tf.int64)
        stretches = tf.data.Dataset.from_tensor_slices((starts, counts))
        records = stretches.flat_map(
            lambda start, count: (
                self._records.stream(start, seed=self._options.seed, shuffle_buffer=self._buffer)
                .take(tf.cast(count, tf.int64))
                .batch(batch_size)
            )
        )
        batches = records.map(self._parser, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return batches.prefetch(self._options.prefetch or tf.data.AUTOTUNE)


def open_feed(
    paths: Sequence[str], parser: BatchParser, options: Feed, *, shuffle: bool
) -> ExampleFeed:
    """Opens the feed that ``options.cache`` asks for.

    Args:
        paths: TFRecord files of the splits.
        parser: Makes tensors of a batch of records.
        options: How to feed.
        shuffle: ``False`` keeps the files' order, for validation.

    Raises:
        ConfigError: Sparse features are to be held in memory.
        DataError: The files are missing, empty or damaged.
    """
    records = RecordFiles(paths)
    if not records.num_examples:
        raise DataError(f"The splits hold no examples: {records.paths}.")
    if options.cache == "memory" and not parser.is_dense:
        raise ConfigError(
            "feed cache",
            received="memory",
            expected="none or auto, because some features vary in length",
        )
    in_memory = options.cache == "memory" or (
        options.cache == "auto"
        and parser.is_dense
        and _decoded_size(records, parser) <= options.memory_budget_mb * _MIB
    )
    kind = ResidentFeed if in_memory else StreamedFeed
    return kind(records, parser, options, shuffle=shuffle)


def _decoded_size(records: RecordFiles, parser: BatchParser) -> float:
    """Estimates the decoded size of all examples, in bytes, from the first batch."""
    for batch in _parsed(records, parser).take(1):
        tensors = tf.nest.flatten(batch)
        return records.num_examples * sum(_size(t) / t.shape[0] for t in tensors)
    return 0.0


def _load(records: RecordFiles, parser: BatchParser) -> tuple:
    pieces = list(_parsed(records, parser))
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *pieces)


def _parsed(records: RecordFiles, parser: BatchParser) -> tf.data.Dataset:
    batches = records.in_order().batch(_LOAD_BATCH)
    return batches.map(parser, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _size(tensor: tf.Tensor) -> int:
    """Returns bytes; a string counts as its reference, for want of better."""
    return int(tf.size(tensor)) * (tensor.dtype.size or 16)
