"""Devices are found, cut out of the processor, or refused by name."""

from pathlib import Path

import pytest
import tensorflow as tf

from tests.components.feeder_trainer.distribution.workers.device_training import opened
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import ProcessTopology
from tfx_feeder.components.feeder_trainer.distribution.devices import (
    num_logical_cpus,
    open_devices,
)
from tfx_feeder.components.feeder_trainer.distribution.launcher.supervisor import launch_processes


def test_one_processor_needs_no_declaration() -> None:
    assert open_devices(("/device:cpu:0",)) == ["CPU:0"]


@pytest.mark.parametrize("name", ["GPU", "CPU:one", "NPU:0", ""])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="names as in"):
        open_devices((name,))


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"GPU:99.*devices of this machine|which has \d+ GPUs"):
        open_devices(("CPU:0", "GPU:99"))


def test_the_same_device_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="each once"):
        open_devices(("CPU:0", "cpu:0"))


def test_devices_are_declared_before_tensorflow_starts_or_not_at_all() -> None:
    tf.constant(0.0)

    with pytest.raises(ConfigError, match="before TensorFlow starts"):
        open_devices(("CPU:0", "CPU:1"))


@pytest.mark.slow
@pytest.mark.parametrize("named", [(), ("CPU:2", "CPU:0")])
def test_a_processor_is_cut_into_logical_devices(named: tuple[str, ...], tmp_path: Path) -> None:
    devices, there = launch_processes(
        opened, named, ProcessTopology("subprocess"), log_dir=tmp_path, restarts=0
    ).result

    if named:
        assert devices == list(named)
        assert there == 3
    elif not tf.config.list_physical_devices("GPU"):
        assert devices == [f"CPU:{index}" for index in range(num_logical_cpus())]
        assert there == len(devices) >= 2
