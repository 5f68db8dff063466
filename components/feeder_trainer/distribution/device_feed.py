"""Feed whose batches are copied to a device ahead of the step that uses them."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.base import Feed

_BATCHES_AHEAD = 2


class DeviceFeed(Feed):
    """Feed with the next batches in the memory of a device; see ``Feed``.

    Elements with strings, ragged or sparse tensors stay in the memory of the host.

    Args:
        source: Feed that produces the batches.
        device: Name of the device, as in ``"GPU:0"``.
    """

    def __init__(self, source: Feed, device: str) -> None:
        self.num_examples = source.num_examples
        self.description = source.description
        self.rejections = source.rejections
        self.reads_files = source.reads_files
        self.order = source.order
        self._source = source
        self._device = device

    def batches(self, epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
        """See ``Feed``."""
        batches = self._source.batches(epochs, batch_size)
        if not all(map(_can_be_copied, tf.nest.flatten(batches.element_spec))):
            return batches
        return batches.apply(
            tf.data.experimental.prefetch_to_device(f"/device:{self._device}", _BATCHES_AHEAD)
        )

    def sample(self, size: int) -> Any:
        """See ``Feed``."""
        return self._source.sample(size)

    def stage_datasets(self, batch_size: int) -> dict[str, tf.data.Dataset]:
        """See ``Feed``."""
        return self._source.stage_datasets(batch_size)

    def close(self) -> None:
        """See ``Feed``."""
        self._source.close()


def _can_be_copied(spec: tf.TypeSpec) -> bool:
    return isinstance(spec, tf.TensorSpec) and spec.dtype != tf.string
