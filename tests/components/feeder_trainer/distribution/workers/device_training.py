"""Opens devices; run in a process of its own."""

from collections.abc import Sequence

import tensorflow as tf

from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.devices import open_devices


def opened(named: Sequence[str], task: ClusterTask | None) -> tuple[list[str], int]:
    """Returns the opened devices, and how many logical ones of the processor there are."""
    del task
    return open_devices(named), len(tf.config.list_logical_devices("CPU"))
