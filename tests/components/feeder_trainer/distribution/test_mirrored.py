"""Replicas count every kind of loss as a sequential training does, or refuse it."""

from typing import Any

import numpy as np
import pytest

from tests.components.feeder_trainer.distribution.workers import replicas
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import ProcessTopology
from tfx_feeder.components.feeder_trainer.distribution.context import open_context
from tfx_feeder.components.feeder_trainer.distribution.launcher.supervisor import launch_processes
from tfx_feeder.components.feeder_trainer.distribution.options import TPU, MultiWorker


@pytest.fixture(scope="module")
def came(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    logs = tmp_path_factory.mktemp("logs")
    return launch_processes(
        replicas.run, None, ProcessTopology("subprocess"), log_dir=logs, restarts=0
    ).result


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["mirrored", "central_storage"])
@pytest.mark.parametrize("kind", replicas.TRAINED)
def test_three_replicas_come_to_what_one_comes_to(
    strategy: str, kind: str, came: dict[str, Any]
) -> None:
    got, alone = came[strategy][kind], came["sequential"][kind]

    np.testing.assert_allclose(got["losses"], alone["losses"], rtol=1e-4)
    for mine, theirs in zip(got["weights"], alone["weights"], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    assert got["results"] == pytest.approx(alone["results"], rel=1e-4)
    assert got["results"]["seen"] == sum(replicas.SIZES)
    assert got["changed"] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", replicas.REFUSED)
def test_what_replicas_cannot_do_is_refused(kind: str, came: dict[str, Any]) -> None:
    _, named = replicas.REFUSED[kind]

    assert named in came["refused"][kind]


def test_workers_without_a_cluster_are_told() -> None:
    with pytest.raises(ConfigError, match="TF_CONFIG"):
        open_context(MultiWorker("env"), None)


@pytest.mark.parametrize("address", ["", "grpc://localhost:1", "grpc://nowhere"])
def test_a_machine_without_a_tpu_says_so(address: str) -> None:
    with pytest.raises(ConfigError, match="expected a TPU"):
        open_context(TPU(address), None)
