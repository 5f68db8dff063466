"""What the training loop asks of a feed."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import tensorflow as tf


class ExampleFeed(Protocol):
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
