"""What the training loop asks of a feed."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.tfdata import without_autotune

UNBOUNDED_EPOCH = range(1 << 40)
"""Positions of an epoch that nobody sees the end of."""


def cache_and_repeat(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Repeats the first few batches for ever, once they have been made: input for one stage."""
    return batches.take(4).cache().repeat()


def batch_sizes(examples: int, batch_size: int) -> list[int]:
    """Returns the sizes of the batches into which examples are cut.

    Example:
        >>> batch_sizes(7, 3)
        [3, 3, 1]
    """
    full, rest = divmod(examples, batch_size)
    return [batch_size] * full + [rest] * bool(rest)


class BatchSource(Protocol):
    """Something that makes batches; ``Feed`` says how.

    Args:
        num_examples: Examples in one pass.
    """

    num_examples: int

    def batches(self, epochs: Sequence[range], batch_size: int) -> tf.data.Dataset: ...

    def stages(self, batch_size: int) -> dict[str, tf.data.Dataset]: ...


class Feed(Protocol):
    """An endless stream of examples, cut into batches on demand.

    Every element of a dataset is ``(features, label)`` or ``(features, label, weight)``: features
    a dict of tensors ``[batch, ...]``, label ``[batch, ...]``, weight ``[batch]``.

    Args:
        num_examples: Examples in one pass.
        description: Where the examples are held, and why, in one line.
        rejections: Reason to number of the records that were left out.
    """

    num_examples: int
    description: str
    rejections: Mapping[str, int]

    def batches(self, epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
        """Returns the batches of consecutive epochs.

        Args:
            epochs: Positions of each epoch in the endless stream, in examples. No batch reaches
                over an epoch's end.
            batch_size: Examples in a batch; the last one of an epoch may be smaller.
        """
        ...

    def stages(self, batch_size: int) -> dict[str, tf.data.Dataset]:
        """Returns what the feed consists of, to find out which part is slow.

        Returns:
            Name of each stage to what comes out of it alone, what goes in being in memory.
            Endless; an element is a batch. Empty where the stages are not in this process.
        """
        ...

    def close(self) -> None:
        """Gives back what the feed holds outside this process: other processes, files."""
        ...


class OpenFeed:
    """An ``Feed`` made of a source of batches and of what is known about it.

    Args:
        source: Makes the batches.
        description: Where the examples are held, and why.
        rejections: Reason to number of the records that were left out.
        resources: Closed with the feed.
    """

    def __init__(
        self,
        source: BatchSource,
        description: str,
        rejections: Mapping[str, int],
        resources: contextlib.ExitStack,
    ) -> None:
        self.source = source
        self.num_examples = source.num_examples
        self.description = description
        self.rejections = rejections
        self._resources = resources

    def batches(self, epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
        """See ``Feed``."""
        return without_autotune(self.source.batches(epochs, batch_size))

    def stages(self, batch_size: int) -> dict[str, tf.data.Dataset]:
        """See ``Feed``."""
        return {
            name: without_autotune(stage) for name, stage in self.source.stages(batch_size).items()
        }

    def close(self) -> None:
        """See ``Feed``."""
        self._resources.close()
