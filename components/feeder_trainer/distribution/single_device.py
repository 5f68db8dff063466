"""Training on one device."""

import tensorflow as tf

from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.context import DistributionContext
from tfx_feeder.components.feeder_trainer.distribution.options import SingleDevice
from tfx_feeder.components.feeder_trainer.training.train_step import CompiledSteps


def open_context(strategy: SingleDevice, task: ClusterTask | None) -> DistributionContext:
    """See ``context.open_context``.

    Args:
        strategy: Unused; one device has no options.
        task: Unused; one device has no cluster.
    """
    del strategy, task
    gpus = tf.config.get_visible_devices("GPU")
    return DistributionContext(CompiledSteps, feed_device="GPU:0" if gpus else None)
