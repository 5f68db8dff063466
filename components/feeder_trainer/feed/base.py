"""Interface between the training loop and a feed."""

import abc
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.tfdata import without_autotune

UNBOUNDED_EPOCH = range(1 << 40)
"""An effectively unbounded epoch."""


def batch_sizes(examples: int, batch_size: int) -> list[int]:
    """Returns the sizes of consecutive batches.

    Args:
        examples: Number of examples to batch.
        batch_size: Examples in each batch except the last.

    Example:
        >>> batch_sizes(7, 3)
        [3, 3, 1]
    """
    full, rest = divmod(examples, batch_size)
    return [batch_size] * full + [rest] * bool(rest)


class Feed(abc.ABC):
    """Unbounded stream of examples, batched on demand.

    Every element of a dataset is ``(features,)``, ``(features, label)`` or ``(features, label,
    weight)``: features a dict of tensors ``[batch, ...]``, label ``[batch, ...]``, weight
    ``[batch]`` or, of each position, ``[batch, ...]``.

    Attributes:
        num_examples: Examples in one pass.
        description: Location of the examples and the reason for it, in one line.
        rejections: Number of rejected records by reason.
        reads_files: True if every pass reads the files, so that each further dataset of batches
            reads them as well and fills a shuffle buffer of its own.
        order: Name of the function from seed and position to example; empty for the permutation
            of all examples. A run that resumes within a pass needs the same.
    """

    num_examples: int
    description: str = ""
    rejections: Mapping[str, int] = {}
    reads_files: bool = False
    order: str = ""

    @abc.abstractmethod
    def batches(self, epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
        """Returns the batches of consecutive epochs.

        Args:
            epochs: Positions of each epoch in the stream, in examples. No batch spans two epochs.
            batch_size: Examples in a batch; the last batch of an epoch may be smaller.
        """

    def sample(self, size: int) -> Any:
        """Returns a batch of some examples, to build a model or to time its steps.

        Args:
            size: Examples in the batch.
        """
        return next(iter(self.batches([range(size)], size)))

    @abc.abstractmethod
    def stage_datasets(self, batch_size: int) -> dict[str, tf.data.Dataset]:
        """Returns one dataset per stage of the feed, to find the slowest stage.

        Args:
            batch_size: Examples in a batch.

        Returns:
            Unbounded dataset of batches by stage name. The input of each stage is in memory. The
            dict is empty if the stages run in other processes.
        """

    def close(self) -> None:
        """Releases the processes and files of the feed; by default, a feed holds none."""
        return


class OpenFeed(Feed):
    """Feed with its description, its rejected records and the resources that it holds.

    Args:
        source: Feed that produces the batches.
        description: Location of the examples and the reason for it, in one line.
        rejections: Number of rejected records by reason.
        resources: Resources to close with the feed.
    """

    def __init__(
        self,
        source: Feed,
        description: str,
        rejections: Mapping[str, int],
        resources: contextlib.ExitStack,
    ) -> None:
        self.source = source
        self.num_examples = source.num_examples
        self.description = description
        self.reads_files = source.reads_files
        self.order = source.order
        self.rejections = rejections
        self._resources = resources

    def batches(self, epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
        """See ``Feed``."""
        return without_autotune(self.source.batches(epochs, batch_size))

    def sample(self, size: int) -> Any:
        """See ``Feed``."""
        return self.source.sample(size)

    def stage_datasets(self, batch_size: int) -> dict[str, tf.data.Dataset]:
        """See ``Feed``."""
        stages = self.source.stage_datasets(batch_size)
        return {name: without_autotune(stage) for name, stage in stages.items()}

    def close(self) -> None:
        """See ``Feed``."""
        self._resources.close()
