"""Physical devices, logical CPU devices, and errors for unknown devices."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tests.components.feeder_trainer.distribution.workers.device_training import opened
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import ProcessTopology
from tfx_feeder.components.feeder_trainer.distribution.device_feed import DeviceFeed
from tfx_feeder.components.feeder_trainer.distribution.devices import (
    num_logical_cpus,
    open_devices,
    reserve_gpus,
    visible_gpus,
)
from tfx_feeder.components.feeder_trainer.distribution.launcher.supervisor import launch_processes
from tfx_feeder.components.feeder_trainer.distribution.options import (
    Auto,
    Mirrored,
    SingleDevice,
    Strategy,
)
from tfx_feeder.components.feeder_trainer.feed.base import Feed


class Gpus:
    """Stands for TensorFlow's list of GPUs, and whether it has opened them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        self.all = [
            tf.config.PhysicalDevice(f"/physical_device:GPU:{n}", "GPU") for n in range(count)
        ]
        self.visible = self.all
        self.are_open = False
        monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "")
        monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH")
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: self.all)
        monkeypatch.setattr(tf.config, "get_visible_devices", lambda _: self.visible)
        monkeypatch.setattr(tf.config, "set_visible_devices", self.set_visible)

    def set_visible(self, devices: Sequence[Any], kind: str) -> None:
        assert kind == "GPU"
        if self.are_open:
            raise RuntimeError("Visible devices cannot be modified after being initialized")
        self.visible = list(devices)


@pytest.mark.parametrize(
    ("strategy", "gpus", "trains_here"),
    [
        (SingleDevice(), 0, True),
        (SingleDevice(), 2, True),
        (Auto(), 0, True),
        (Auto(), 2, False),
        (Mirrored(), 0, False),
        (Mirrored(), 2, False),
    ],
)
def test_a_process_that_only_starts_others_hides_the_gpus(
    strategy: Strategy, gpus: int, trains_here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Gpus(monkeypatch, gpus)

    assert reserve_gpus(strategy) == trains_here
    assert fake.visible == (fake.all if trains_here else [])
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"


def test_after_an_earlier_training_hid_the_gpus_one_device_needs_a_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Gpus(monkeypatch, 1)
    reserve_gpus(Mirrored())

    assert not reserve_gpus(SingleDevice())


def test_gpus_that_are_open_already_are_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Gpus(monkeypatch, 1).are_open = True

    assert not reserve_gpus(Mirrored())
    assert "run the Trainer in a process of its own" in caplog.text


@pytest.mark.parametrize(
    ("listed", "expected"),
    [(None, ("0", "1")), ("3, GPU-5a", ("3", "GPU-5a")), ("0,1,-1,2", ("0", "1"))],
)
def test_gpus_are_identified_as_this_process_sees_them(
    listed: str | None, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    Gpus(monkeypatch, 2)

    assert visible_gpus({} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}) == expected


class Numbers(Feed):
    """Feed whose features are numbers, or texts."""

    num_examples = 6

    def __init__(self, features: Any) -> None:
        self.features = features

    def batches(self, epochs: Sequence[range], batch_size: int) -> tf.data.Dataset:
        del epochs
        return tf.data.Dataset.from_tensor_slices((self.features, tf.range(6))).batch(batch_size)

    def stage_datasets(self, batch_size: int) -> dict[str, tf.data.Dataset]:
        return {"all": self.batches([], batch_size)}


@pytest.mark.parametrize("features", [tf.range(6.0), tf.strings.as_string(tf.range(6))])
def test_batches_are_copied_to_a_device(features: tf.Tensor) -> None:
    source = Numbers({"x": features})
    feed = DeviceFeed(source, "CPU:0")

    @tf.function
    def take(batches: Any, count: tf.Tensor) -> tf.Tensor:
        taken = tf.TensorArray(features.dtype, count)
        for step in tf.range(count):
            taken = taken.write(step, next(batches)[0]["x"])
        return taken.concat()

    batches = feed.batches([range(6)], 2)
    assert batches.element_spec == source.batches([], 2).element_spec
    assert take(iter(batches), tf.constant(3)).numpy().tolist() == features.numpy().tolist()
    is_copied = "copy" in type(batches).__name__.lower() or "prefetch" in repr(batches).lower()
    assert is_copied == features.dtype.is_floating


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
