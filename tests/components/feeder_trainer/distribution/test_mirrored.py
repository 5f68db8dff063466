"""Replicas count every kind of loss as a sequential training does, or refuse it."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_feeder.components.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.placing.layout import Layout
from tfx_feeder.components.feeder_trainer.placing.placement import open_placement
from tfx_feeder.components.feeder_trainer.placing.processes import run
from tfx_feeder.components.feeder_trainer.strategies import Strategy

sys.path.insert(0, str(Path(__file__).parent))  # So that a child process finds the jobs as well.

import replica_jobs


@pytest.fixture(scope="module")
def came(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    logs = tmp_path_factory.mktemp("logs")
    return run(replica_jobs.run, None, Layout("process"), log_dir=logs, restarts=0).result


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["mirrored", "central_storage"])
@pytest.mark.parametrize("kind", replica_jobs.TRAINED)
def test_three_replicas_come_to_what_one_comes_to(
    strategy: str, kind: str, came: dict[str, Any]
) -> None:
    got, alone = came[strategy][kind], came["sequential"][kind]

    np.testing.assert_allclose(got["losses"], alone["losses"], rtol=1e-4)
    for mine, theirs in zip(got["weights"], alone["weights"], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    assert got["results"] == pytest.approx(alone["results"], rel=1e-4)
    assert got["results"]["seen"] == sum(replica_jobs.SIZES)
    assert got["changed"] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", replica_jobs.REFUSED)
def test_what_replicas_cannot_do_is_refused(kind: str, came: dict[str, Any]) -> None:
    _, named = replica_jobs.REFUSED[kind]

    assert named in came["refused"][kind]


def test_workers_without_a_cluster_are_told() -> None:
    with pytest.raises(ConfigError, match="TF_CONFIG"):
        open_placement(Strategy.multi_worker("env"), None)


@pytest.mark.parametrize("address", ["", "grpc://localhost:1", "grpc://nowhere"])
def test_a_machine_without_a_tpu_says_so(address: str) -> None:
    with pytest.raises(ConfigError, match="expected a TPU"):
        open_placement(Strategy.tpu(address), None)
