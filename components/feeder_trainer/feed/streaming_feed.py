"""Feed that reads and decodes the files in every pass, for data that no cache can hold."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.base import Feed, batch_sizes
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser
from tfx_feeder.components.feeder_trainer.feed.record_source import RecordSource, ShuffleMemory
from tfx_feeder.components.feeder_trainer.feed.rows import take_rows
from tfx_feeder.components.feeder_trainer.feed.sharding import FilePart, Shard
from tfx_feeder.components.feeder_trainer.feed.tfdata import NUM_THREADS

_MAX_SIZES = 1 << 20


class StreamingFeed(Feed):
    """Reads, shuffles and decodes records during training.

    Args:
        records: Records of this process.
        parser: Parser of the records.
        options: Seed, shuffle buffer, memory budget and prefetching.
        shuffle: If False, the order of the files is kept.
        shard: Shard of each batch of the records that this process receives.
        part: Part of all examples that the records are.

    Attributes:
        memory: Memory of the shuffling.
    """

    reads_files = True

    def __init__(
        self,
        records: RecordSource,
        parser: ExampleParser,
        options: FeedOptions,
        *,
        shuffle: bool,
        shard: Shard,
        part: FilePart,
    ) -> None:
        self.num_examples = part.num_examples
        self.memory = ShuffleMemory(
            options.shuffle_buffer if shuffle else 0, options.memory_budget_mb << 20
        )
        kind = "blocks" if self.memory.examples else ""
        self.order = ", ".join(filter(None, (kind, part.name)))
        self._records = records
        self._part = part
        self._parser = parser
        self._options = options
        self._shard = shard

    def batches(self, epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
        """See ``Feed``."""
        plan = plan_cuts(epochs, batch_size)
        streams = [self._cut(own) for cuts in plan for own in cuts_of_part(cuts, self._part)]
        batches = streams[0]
        for stream in streams[1:]:
            batches = batches.concatenate(stream)
        return self._parse(batches).prefetch(self._options.prefetch or tf.data.AUTOTUNE)

    def sample(self, size: int) -> Any:
        """See ``Feed``; the first examples of the files, which no shuffling has to precede."""
        size = max(1, self._part.before(size))  # A batch may be smaller than the team.
        return next(iter(self._parse(self._records.first(size).batch(size))))

    def stage_datasets(self, batch_size: int) -> dict[str, tf.data.Dataset]:
        """See ``Feed``; without shuffling, which would hold another buffer in memory."""
        batch_size = max(1, self._part.before(batch_size))
        in_order = dataclasses.replace(self.memory, examples=0)
        reading = self._records.stream(0, seed=0, memory=in_order).rebatch(batch_size)
        read = self._records.first(4 * batch_size).batch(batch_size).cache().repeat()
        return {"reading": reading, "parsing and decoding": self._parse(read)}

    def _cut(self, cuts: "Cuts") -> tf.data.Dataset:
        """Returns the batches of records of one stream."""
        chunks = self._records.stream(cuts.start, seed=self._options.seed, memory=self.memory)
        batches = chunks.rebatch(tf.constant(cuts.sizes, tf.int64))
        if not cuts.kept.all():
            kept = tf.data.Dataset.from_tensor_slices(cuts.kept).repeat()
            pairs = tf.data.Dataset.zip((batches, kept)).filter(lambda _, keep: keep)
            batches = pairs.map(lambda batch, _: batch)
        return batches.take(cuts.num_batches)

    def _parse(self, records: tf.data.Dataset) -> tf.data.Dataset:
        return records.map(
            self._parse_shard,
            num_parallel_calls=NUM_THREADS,
            deterministic=True,
        )

    @tf.autograph.experimental.do_not_convert
    def _parse_shard(self, serialized: tf.Tensor) -> Any:
        if self._shard.count == 1 or not self._parser.has_sparse:
            return self._parser(self._shard.slice(serialized))
        # A sparse tensor is as wide as the longest example of the whole batch, to which the model
        # may pad: the rows of a shard alone could be narrower.
        rows = self._shard.bounds(tf.size(serialized))
        return take_rows(self._parser(serialized), *rows)


@dataclass(frozen=True, slots=True)
class Cuts:
    """Batches that are cut from one stream of examples.

    Args:
        start: Position of the first example.
        sizes: Examples in each batch, repeated indefinitely.
        kept: False for the examples between two epochs, which are dropped.
        num_batches: Number of batches that are kept.
    """

    start: int
    sizes: np.ndarray
    kept: np.ndarray
    num_batches: int


def plan_cuts(epochs: Sequence[range], batch_size: int) -> list[Cuts]:
    """Plans the batches of epochs as cuts of as few streams as possible.

    Args:
        epochs: Positions of each epoch, in ascending order.
        batch_size: Examples in a batch; the last batch of an epoch may be smaller.

    Returns:
        Usually one stream. A second one begins where a remainder follows more than a million
        batches; epochs of different lengths with more than that are a stream each.
    """
    num_batches = sum(-(-len(epoch) // batch_size) for epoch in epochs)
    gaps = [after.start - before.stop for before, after in pairwise(epochs)]
    gaps.append(gaps[-1] if gaps else 0)
    whole = all(len(epoch) % batch_size == 0 for epoch in epochs)
    if whole and not any(gaps):
        return [Cuts(epochs[0].start, np.array([batch_size]), np.array([True]), num_batches)]
    if num_batches <= _MAX_SIZES:
        pattern = [_pattern(*each, batch_size) for each in zip(epochs, gaps, strict=True)]
        return [_cuts(epochs[0].start, np.concatenate(pattern), num_batches)]
    if len(epochs) == 1:
        (epoch,) = epochs
        border = epoch.stop - len(epoch) % batch_size
        return [
            *plan_cuts([range(epoch.start, border)], batch_size),
            *plan_cuts([range(border, epoch.stop)], batch_size),
        ]
    cycle = _pattern(epochs[-1], gaps[-1], batch_size)
    first = _pattern(epochs[0], gaps[0], batch_size)
    equal = len({len(epoch) for epoch in epochs[1:]}) == len(set(gaps)) == 1
    if equal and len(cycle) <= _MAX_SIZES and np.array_equal(cycle[-len(first) :], first):
        cycle = np.roll(cycle, len(first), axis=0)
        return [_cuts(epochs[0].start, cycle, num_batches)]
    return [cuts for epoch in epochs for cuts in plan_cuts([epoch], batch_size)]


def cuts_of_part(cuts: Cuts, part: FilePart) -> list[Cuts]:
    """Returns what one process provides of the batches: cuts of the stream of its records.

    Args:
        cuts: Batches of all processes.
        part: Part of the examples.

    Returns:
        One stream, or one for each million of batches.
    """
    if part.shard.count == 1:
        return [cuts]
    result, number, position, left = [], 0, cuts.start, cuts.num_batches
    while left:
        numbers = np.arange(number, number + min(_MAX_SIZES, 2 * left)) % len(cuts.sizes)
        kept = cuts.kept[numbers]
        borders = position + np.append(0, np.cumsum(cuts.sizes[numbers]))
        own = part.before(borders)
        num_batches = min(left, int(kept.sum()))
        result.append(Cuts(int(own[0]), np.diff(own), kept, num_batches))
        number, position, left = number + len(numbers), int(borders[-1]), left - num_batches
    return result


def _pattern(epoch: range, gap: int, batch_size: int) -> np.ndarray:
    """Returns size and kept of each batch of an epoch, and of the gap after it: ``[cuts, 2]``."""
    kept = [(size, 1) for size in batch_sizes(len(epoch), batch_size)]
    return np.array(kept + [(gap, 0)] * (gap > 0), np.int64).reshape(-1, 2)


def _cuts(start: int, pattern: np.ndarray, num_batches: int) -> Cuts:
    return Cuts(start, pattern[:, 0], pattern[:, 1] > 0, num_batches)
