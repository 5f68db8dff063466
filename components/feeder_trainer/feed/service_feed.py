"""Feed whose files are read, decoded and augmented by the workers of tf.data service."""

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError, DataError
from tfx_feeder.components.feeder_trainer.feed.augmentation import (
    AugmentFn,
    augment,
    check_augmentation,
)
from tfx_feeder.components.feeder_trainer.feed.base import Feed
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser
from tfx_feeder.components.feeder_trainer.feed.record_source import TFRecordSource
from tfx_feeder.components.feeder_trainer.feed.service_cluster import ServiceCluster
from tfx_feeder.components.feeder_trainer.feed.sharding import FilePart
from tfx_feeder.components.feeder_trainer.feed.tfdata import without_autotune
from tfx_feeder.components.feeder_trainer.feed.tfrecord import open_records

_FILE_SHARDS = 16
_OPEN_FILE_SHARDS = 4
_PUT_TIMEOUT_S = 0.5
_END = object()

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileShard:
    """Consecutive records of one file, the unit of work of a service worker.

    Args:
        file: Index of the file.
        skip: Records before the shard.
        take: Records in the shard.
        position: Position of the first record in the unbounded stream.
    """

    file: int
    skip: int
    take: int
    position: int


class ServiceFeed(Feed):
    """Feed whose batches are made by tf.data service workers.

    The examples of an epoch are a function of (seed, position); their order within the epoch is
    the order of arrival. The service delivers at most once: the examples that a failed worker
    holds are lost. Every element carries its positions, so the trainer detects the missing
    examples and reads them itself at the end of the epoch.

    Args:
        records: Records of this process; the service's workers must reach the files under the
            same paths.
        parser: Parser of the records; all features must be dense.
        options: Seed, shuffle buffer, prefetching and service.
        part: Part of all examples that the records are.
        augment_fn: Function that augments the features of each batch, on the workers.

    Raises:
        ConfigError: The service cannot deliver the features, or the augmentation changes them.
        FeederError: A process of a local service does not start.
    """

    def __init__(
        self,
        records: TFRecordSource,
        parser: ExampleParser,
        options: FeedOptions,
        part: FilePart,
        augment_fn: AugmentFn | None = None,
    ) -> None:
        if not parser.is_dense:
            raise ConfigError(
                "feed service", received=options.service, expected="features of fixed length"
            )
        self.num_examples = part.num_examples
        self.order = part.name
        self.description = (
            f"none: read by tf.data service {options.service}, at most once; the trainer reads "
            "the examples of a failed worker; the order within an epoch is not reproducible"
        )
        self.num_missing = 0
        self._records = records
        self._part = part
        self._parser = parser
        self._options = options
        self._augment_fn = None
        plain: Any = self._read(range(1), 1).element_spec
        self._augment_fn = augment_fn
        self._spec: Any = self._read(range(1), 1).element_spec
        check_augmentation(plain[1][0], self._spec[1][0])
        self._address = options.service
        self.cluster: ServiceCluster | None = None
        if options.service_workers:
            self.cluster = ServiceCluster(options.service_workers)
            self._address = self.cluster.address

    def close(self) -> None:
        """Stops the processes that the feed started."""
        if self.cluster is not None:
            self.cluster.close()

    def batches(self, epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
        """See ``Feed``."""
        starts, stops = (
            tf.constant([getattr(epoch, name) for epoch in epochs], tf.int64)
            for name in ("start", "stop")
        )

        def one_epoch(index: tf.Tensor) -> tf.data.Dataset:
            arrivals = tf.data.Dataset.from_generator(
                lambda number: self._epoch(epochs[number], batch_size),
                args=(index,),
                output_signature=self._spec[1],
            )
            if self._part.shard.count == 1:
                return arrivals.rebatch(batch_size)
            firsts = tf.range(starts[index], stops[index], batch_size)
            borders = self._part.before(tf.concat([firsts, stops[index, None]], axis=0))
            sizes = borders[1:] - borders[:-1]
            # Sizes are repeated; after the last example, a size of 0 would repeat without end.
            return arrivals.rebatch(sizes).take(tf.size(sizes, tf.int64))

        batches = tf.data.Dataset.range(len(epochs)).flat_map(one_epoch)
        return batches.prefetch(self._options.prefetch or tf.data.AUTOTUNE)

    def stage_datasets(self, batch_size: int) -> dict[str, tf.data.Dataset]:
        """See ``Feed``; empty because the stages run in other processes."""
        del batch_size
        return {}

    def _epoch(self, epoch: range, batch_size: int) -> Iterator[Any]:
        """Yields batches of varying size that hold each of the part's examples of an epoch once."""
        epoch = range(self._part.before(epoch.start), self._part.before(epoch.stop))
        if not epoch:  # An epoch may have fewer examples than there are processes.
            return
        distribute = tf.data.experimental.service.distribute(
            processing_mode=tf.data.experimental.service.ShardingPolicy.DYNAMIC,
            service=self._address,
        )
        missing = np.ones(len(epoch), bool)
        for positions, batch in iterate_with_timeout(
            lambda: without_autotune(self._read(epoch, batch_size).apply(distribute)),
            self._options.service_timeout_s,
        ):
            missing[positions.numpy() - epoch.start] = False
            yield batch
        if missing.all():
            raise DataError(
                f"The service {self._address} delivered nothing for "
                f"{self._options.service_timeout_s} s. Check that its dispatcher and at least one "
                "worker are running and that the workers can read the files."
            )
        if missing.any():
            self.num_missing += int(missing.sum())
            _log.warning(
                "The feed service lost %d of %d examples, for example because a worker failed. "
                "The trainer reads them.",
                missing.sum(),
                len(epoch),
            )
            for _, batch in self._read(epoch, batch_size, only=missing):
                yield batch

    def _read(
        self, epoch: range, batch_size: int, only: np.ndarray | None = None
    ) -> tf.data.Dataset:
        """Reads an epoch in any order: ``(positions, batch)``.

        Args:
            epoch: Positions of the epoch.
            batch_size: Examples in a batch.
            only: bool ``[len(epoch)]``, True for the examples to read; ``None`` reads all.
        """
        shuffled = self._options.shuffle_buffer > 0
        counts = [file.num_records for file in self._records.files]
        seed = self._options.seed
        shards = plan_file_shards(counts, epoch, seed, shuffle=shuffled, num_shards=_FILE_SHARDS)
        examples = self._shard_dataset(shards).interleave(
            _open_shard,
            cycle_length=_OPEN_FILE_SHARDS,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=False,
        )
        if only is not None:
            selected = tf.constant(only)
            examples = examples.filter(lambda position, _: selected[position - epoch.start])
        if shuffled:
            examples = examples.shuffle(self._options.shuffle_buffer)
        return without_autotune(
            examples.batch(batch_size).map(
                self._make_batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False
            )
        )

    def _shard_dataset(self, shards: Sequence[FileShard]) -> tf.data.Dataset:
        files = self._records.files
        return tf.data.Dataset.from_tensor_slices(
            (
                [files[shard.file].path for shard in shards],
                [files[shard.file].compression for shard in shards],
                tf.constant([files[shard.file].first + shard.skip for shard in shards], tf.int64),
                tf.constant([shard.take for shard in shards], tf.int64),
                tf.constant([shard.position for shard in shards], tf.int64),
            )
        )

    def _make_batch(self, positions: tf.Tensor, serialized: tf.Tensor) -> tuple:
        batch = self._parser(serialized)
        if self._augment_fn is not None:
            batch = augment(batch, self._augment_fn, self._options.seed, positions[0])
        return positions, batch


def _open_shard(
    path: tf.Tensor, compression: tf.Tensor, skip: tf.Tensor, take: tf.Tensor, position: tf.Tensor
) -> tf.data.Dataset:
    records = open_records(path, compression).skip(skip).take(take)
    return tf.data.Dataset.zip((tf.data.Dataset.range(position, position + take), records))


def plan_file_shards(
    counts: Sequence[int], positions: range, seed: int, *, shuffle: bool, num_shards: int
) -> list[FileShard]:
    """Splits a range of positions of an unbounded stream into shards of files.

    Args:
        counts: Records in each file.
        positions: Range with step 1.
        seed: Seed of the order of the files in each pass.
        shuffle: If False, the order of the files is kept.
        num_shards: Approximate number of shards, so that all workers are busy.

    Returns:
        Shards that hold each position once, in ascending order.
    """
    total = sum(counts)
    largest = max(1, -(-len(positions) // num_shards))
    shards = []
    for index in range(positions.start // total, -(-positions.stop // total)):
        order = np.arange(len(counts))
        if shuffle:
            order = np.random.Generator(np.random.PCG64([seed, index])).permutation(order)
        first = index * total
        for file in order.tolist():
            start = max(first, positions.start)
            stop = min(first + counts[file], positions.stop)
            for position in range(start, stop, largest):
                take = min(largest, stop - position)
                shards.append(FileShard(file, position - first, take, position))
            first += counts[file]
    return shards


def iterate_with_timeout(
    make: Callable[[], tf.data.Dataset], timeout_s: float, buffer_size: int = 2
) -> Iterator[Any]:
    """Iterates over a dataset with a timeout, because tf.data service can block indefinitely.

    The end, an error and a timeout all end the iteration; the caller must know which elements to
    expect. After a timeout, the reading thread is abandoned because a blocked iterator cannot be
    interrupted.

    Args:
        make: Function that returns the dataset; its time counts toward the timeout.
        timeout_s: Longest wait for an element, in seconds.
        buffer_size: Elements to read ahead.

    Yields:
        Elements of the dataset.
    """
    elements: queue.Queue[Any] = queue.Queue(buffer_size)
    stopped = threading.Event()

    def put(element: Any) -> None:
        while not stopped.is_set():
            try:
                return elements.put(element, timeout=_PUT_TIMEOUT_S)
            except queue.Full:
                continue

    def read() -> None:
        try:
            for element in make():
                put(element)
                if stopped.is_set():
                    return
        except tf.errors.OpError:
            pass  # The service failed; the caller detects the missing elements.
        put(_END)

    threading.Thread(target=read, name="feed-service", daemon=True).start()
    try:
        while (element := elements.get(timeout=timeout_s)) is not _END:
            yield element
    except queue.Empty:
        return
    finally:
        stopped.set()
