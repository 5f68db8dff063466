"""The feed whose reading, decoding and augmenting is done by the processes of tf.data service."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError, DataError
from tfx_feeder.components.feeder_trainer.feed.arriving import iterate_with_timeout
from tfx_feeder.components.feeder_trainer.feed.augmentation import (
    AugmentFn,
    augment,
    check_augmentation,
)
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser
from tfx_feeder.components.feeder_trainer.feed.pieces import FileShard, plan_file_shards
from tfx_feeder.components.feeder_trainer.feed.service_cluster import ServiceCluster
from tfx_feeder.components.feeder_trainer.feed.tfdata import without_autotune
from tfx_feeder.components.feeder_trainer.feed.tfrecord import TFRecordSource, open_records

_PIECES = 16
_OPEN_PIECES = 4

_log = logging.getLogger(__name__)


class ServiceFeed:
    """Lets workers make the batches; see ``Feed``.

    Which examples an epoch holds is a function of (seed, position); their order within the epoch
    is as they arrive. The service delivers at most once: what a lost worker takes along is missing.
    Every element carries its positions, so the trainer knows what did not come, and reads it by
    itself at the end of the epoch.

    Args:
        records: The files; the workers must reach them under the same paths.
        parser: Makes tensors of a batch of records; all features must be dense.
        options: Seed, shuffle buffer, prefetching and service.
        augment_fn: Augments the features of each batch, on the workers.

    Raises:
        ConfigError: The features or the augmentation do not fit.
    """

    def __init__(
        self,
        records: TFRecordSource,
        parser: ExampleParser,
        options: FeedOptions,
        augment_fn: AugmentFn | None = None,
    ) -> None:
        if not parser.is_dense:
            raise ConfigError(
                "feed service", received=options.service, expected="features of fixed length"
            )
        self.num_examples = records.num_examples
        self.lost = 0
        self._records = records
        self._parser = parser
        self._options = options
        self._augment_fn = None
        plain: Any = self._read(range(1), 1).element_spec
        self._augment_fn = augment_fn
        self._spec: Any = self._read(range(1), 1).element_spec
        check_augmentation(plain[1][0], self._spec[1][0])
        self._address = options.service
        self.pool: ServiceCluster | None = None
        local, _, workers = (options.service or "").partition(":")
        if local == "local":
            self.pool = ServiceCluster(int(workers))
            self._address = self.pool.address

    @property
    def description(self) -> str:
        """What the service does and does not give, for the history."""
        return (
            f"none: read by tf.data service {self._options.service}, at most once; what a lost "
            "worker takes along is read again by the trainer; not repeatable within an epoch"
        )

    def close(self) -> None:
        """Ends the processes that the feed started."""
        if self.pool is not None:
            self.pool.close()

    def batches(self, epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
        """See ``Feed``."""

        def one_epoch(index: tf.Tensor) -> tf.data.Dataset:
            arrived = tf.data.Dataset.from_generator(
                lambda number: self._epoch(epochs[number], batch_size),
                args=(index,),
                output_signature=self._spec[1],
            )
            return arrived.rebatch(batch_size)

        batches = tf.data.Dataset.range(len(epochs)).flat_map(one_epoch)
        return batches.prefetch(self._options.prefetch or tf.data.AUTOTUNE)

    def stages(self, batch_size: int) -> dict[str, tf.data.Dataset]:
        """See ``Feed``."""
        del batch_size
        return {}  # They run elsewhere, and an epoch of theirs has an end.

    def _epoch(self, epoch: range, batch_size: int) -> Iterator[Any]:
        """Yields batches, of no particular size, that hold each example of an epoch once."""
        if self.pool is not None:
            self.pool.revive()
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
                f"{self._options.service_timeout_s} s: are its dispatcher and a worker running, "
                "and do the workers reach the files?"
            )
        if missing.any():
            self.lost += int(missing.sum())
            _log.warning(
                "The feed service lost %d of %d examples, as when a worker dies; they are read "
                "by the trainer.",
                missing.sum(),
                len(epoch),
            )
            for _, batch in self._read(epoch, batch_size, only=missing):
                yield batch

    def _read(
        self, epoch: range, batch_size: int, only: np.ndarray | None = None
    ) -> tf.data.Dataset:
        """Reads an epoch, in any order: ``(positions, batch)``.

        Args:
            epoch: Positions.
            batch_size: Examples in a batch.
            only: bool ``[len(epoch)]``: which of them to read; ``None``: all.
        """
        shuffled = self._options.shuffle_buffer > 0
        counts, seed = self._records.counts, self._options.seed
        pieces = plan_file_shards(counts, epoch, seed, shuffle=shuffled, count=_PIECES)
        examples = self._piece_files(pieces).interleave(
            _open_piece,
            cycle_length=_OPEN_PIECES,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=False,
        )
        if only is not None:
            wanted = tf.constant(only)
            examples = examples.filter(lambda position, _: wanted[position - epoch.start])
        if shuffled:
            examples = examples.shuffle(self._options.shuffle_buffer)
        return without_autotune(
            examples.batch(batch_size).map(
                self._make_batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False
            )
        )

    def _piece_files(self, pieces: Sequence[FileShard]) -> tf.data.Dataset:
        records = self._records
        return tf.data.Dataset.from_tensor_slices(
            (
                [records.paths[piece.file] for piece in pieces],
                [records.compressions[piece.file] for piece in pieces],
                tf.constant([piece.skip for piece in pieces], tf.int64),
                tf.constant([piece.take for piece in pieces], tf.int64),
                tf.constant([piece.position for piece in pieces], tf.int64),
            )
        )

    def _make_batch(self, positions: tf.Tensor, serialized: tf.Tensor) -> tuple:
        batch = self._parser(serialized)
        if self._augment_fn is not None:
            batch = augment(batch, self._augment_fn, self._options.seed, positions[0])
        return positions, batch


def _open_piece(
    path: tf.Tensor, compression: tf.Tensor, skip: tf.Tensor, take: tf.Tensor, position: tf.Tensor
) -> tf.data.Dataset:
    records = open_records(path, compression).skip(skip).take(take)
    return tf.data.Dataset.zip((tf.data.Dataset.range(position, position + take), records))
