"""Synchronous data parallelism on one machine, with the variables on its CPU.

This is a synchronous parameter server on one machine: each device computes the gradients of its
shard of the batch with the variables that the CPU sends, and the CPU sums the gradients and
updates. It uses plain device placement in one graph. The CentralStorageStrategy of
``tf.distribute`` does the same, but fails with BatchNormalization ("You must specify an aggregation
method").
"""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.context import DistributionContext
from tfx_feeder.components.feeder_trainer.distribution.data_parallel import DataParallelSteps
from tfx_feeder.components.feeder_trainer.distribution.devices import open_devices
from tfx_feeder.components.feeder_trainer.distribution.options import CentralStorage
from tfx_feeder.components.feeder_trainer.feed.sharding import Shard
from tfx_feeder.components.feeder_trainer.training.gradient_accumulation import squared_norm
from tfx_feeder.components.feeder_trainer.training.model_calls import Adapter
from tfx_feeder.components.feeder_trainer.training.train_step import (
    DEFAULT_STEP_OPTIONS,
    StepOptions,
)


def open_context(strategy: CentralStorage, task: ClusterTask | None) -> DistributionContext:
    """See ``context.open_context``.

    Args:
        strategy: Devices to train on.
        task: Unused; the strategy runs in one process.

    Raises:
        ConfigError: See ``devices.open_devices``.
    """
    del task
    devices = open_devices(strategy.devices)
    return DistributionContext(
        functools.partial(CentralStorageSteps, devices),
        scope=lambda: tf.device("CPU:0"),
        replicas=len(devices),
    )


class CentralStorageSteps(DataParallelSteps):
    """One graph with a tower per device; see ``DataParallelSteps``.

    All towers update the moving statistics of BatchNormalization, one after another.

    Args:
        devices: Names of the devices.
        model: Compiled model.
        adapt: See ``CompiledSteps``.
        options: Options of the steps.
    """

    def __init__(
        self,
        devices: Sequence[str],
        model: keras.Model,
        adapt: Adapter,
        options: StepOptions = DEFAULT_STEP_OPTIONS,
    ) -> None:
        self._devices = devices
        super().__init__("central_storage", len(devices), Shard(), model, adapt, options)

    def _train_batch(self, batch: tuple, size: tf.Tensor) -> tuple[tf.Tensor, dict[str, Any]]:
        towers = []
        for index, device in enumerate(self._devices):
            with tf.device(device):
                towers.append(self._shard_gradients(batch, size, index))
        values = [_sum(parts) for parts in zip(*(tower.values for tower in towers), strict=True)]
        self._apply_gradients(values)
        micro_sq_norm, batch_sq_norm, micro_batch_size = 0.0, 0.0, 0.0
        if self._noise_scale:
            micro_sq_norm = tf.add_n([tower.micro_sq_norm for tower in towers])
            batch_sq_norm = squared_norm([value for value in values if value is not None])
            micro_batch_size = self._micro_batch_size(size)
        loss = tf.add_n([tower.loss for tower in towers])
        columns = tf.stack([loss, micro_sq_norm, batch_sq_norm, micro_batch_size])
        return tf.cast(columns, tf.float64), {}

    def _evaluate_batch(self, batch: tuple, size: tf.Tensor) -> dict[str, Any]:
        for index, device in enumerate(self._devices):
            with tf.device(device):
                self._evaluate_replica(batch, size, index)
        return {}


def _sum(parts: Sequence[Any]) -> Any:
    present = [tf.convert_to_tensor(part) for part in parts if part is not None]
    return tf.add_n(present) if present else None
