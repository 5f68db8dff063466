"""Launch of a strategy's processes: the GPU of each."""

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tests.components.feeder_trainer.distribution.workers import processes as jobs
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import ProcessTopology
from tfx_feeder.components.feeder_trainer.distribution.devices import reserve_gpus
from tfx_feeder.components.feeder_trainer.distribution.launcher.launch import run_in_processes
from tfx_feeder.components.feeder_trainer.distribution.options import (
    MultiWorker,
    SingleDevice,
    Strategy,
    SynchronousParameterServer,
)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes TensorFlow list two GPUs, which another program selected from four."""
    listed = tf.config.list_physical_devices

    def with_gpus(kind: str | None = None) -> list[Any]:
        gpus = [tf.config.PhysicalDevice(f"/physical_device:GPU:{n}", "GPU") for n in range(2)]
        return gpus if kind == "GPU" else listed(kind)

    monkeypatch.setattr(tf.config, "list_physical_devices", with_gpus)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5a")
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "")
    monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH")


def test_servers_get_no_gpu_and_a_chief_gets_the_first_that_no_worker_needs() -> None:
    def gpus(*identifiers: str) -> list[str | None]:
        topology = ProcessTopology("parameter_servers", 2, identifiers)
        return [topology.gpu_of(task) for task in topology.tasks()]

    assert gpus("0", "1") == ["", "0", "1", ""]
    assert gpus("0", "1", "2", "3") == ["2", "0", "1", ""]
    assert gpus() == [None] * 4


@pytest.mark.usefixtures("two_gpus")
def test_more_workers_than_gpus_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 workers have 2 GPUs") as caught:
        run_in_processes(jobs.write_gpus, "", MultiWorker("local:3"), str(tmp_path))

    assert "local:2" in str(caught.value)


@pytest.mark.multi_worker
@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (MultiWorker("local:2"), {"worker-0": "3", "worker-1": "GPU-5a"}),
        (SynchronousParameterServer("local:2"), {"chief-0": "-1"}),
        (SingleDevice(), {"process": "3,GPU-5a"}),
    ],
    ids=["workers", "parameter_servers", "subprocess"],
)
def test_each_worker_sees_its_own_gpu(
    strategy: Strategy,
    expected: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda *_: None)
    reserve_gpus(strategy)

    run_in_processes(jobs.write_gpus, str(tmp_path), strategy, str(tmp_path / "logs"))

    found = {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()}
    assert found == {name: f"{gpus}, grows true" for name, gpus in expected.items()}
