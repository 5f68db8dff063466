"""Opens devices in a separate process."""

from collections.abc import Sequence

import tensorflow as tf

from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.devices import open_devices


def opened(named: Sequence[str], task: ClusterTask | None) -> tuple[list[str], int]:
    """Returns the opened devices and the number of logical CPU devices."""
    del task
    return open_devices(named), len(tf.config.list_logical_devices("CPU"))
