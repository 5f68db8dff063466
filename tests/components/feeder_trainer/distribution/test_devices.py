"""Physical devices, logical CPU devices, and errors for unknown devices."""

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


def test_a_single_cpu_needs_no_logical_devices() -> None:
    assert open_devices(("/device:cpu:0",)) == ["CPU:0"]


@pytest.mark.parametrize("name", ["GPU", "CPU:one", "NPU:0", ""])
def test_an_invalid_name_is_rejected(name: str) -> None:
    with pytest.raises(ConfigError, match="names as in"):
        open_devices((name,))


def test_a_missing_device_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"GPU:99.*devices of this machine|which has \d+ GPUs"):
        open_devices(("CPU:0", "GPU:99"))


def test_a_duplicate_device_is_rejected() -> None:
    with pytest.raises(ConfigError, match="each once"):
        open_devices(("CPU:0", "cpu:0"))


def test_logical_devices_cannot_be_configured_after_tensorflow_starts() -> None:
    tf.constant(0.0)

    with pytest.raises(ConfigError, match="before TensorFlow starts"):
        open_devices(("CPU:0", "CPU:1"))


@pytest.mark.slow
@pytest.mark.parametrize("named", [(), ("CPU:2", "CPU:0")])
def test_a_cpu_is_split_into_logical_devices(named: tuple[str, ...], tmp_path: Path) -> None:
    devices, num_logical = launch_processes(
        opened, named, ProcessTopology("subprocess"), log_dir=tmp_path, restarts=0
    ).result

    if named:
        assert devices == list(named)
        assert num_logical == 3
    elif not tf.config.list_physical_devices("GPU"):
        assert devices == [f"CPU:{index}" for index in range(num_logical_cpus())]
        assert num_logical == len(devices) >= 2
