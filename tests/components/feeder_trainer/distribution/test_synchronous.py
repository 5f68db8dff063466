"""Synchronous strategies match single-device training."""

from typing import Any

import numpy as np
import pytest

from tests.components.feeder_trainer.distribution.workers import synchronous
from tfx_feeder.components.feeder_trainer.distribution.cluster import ProcessTopology
from tfx_feeder.components.feeder_trainer.distribution.launcher.supervisor import launch_processes
from tfx_feeder.components.feeder_trainer.distribution.options import (
    CentralStorage,
    Mirrored,
    MultiWorker,
    SingleDevice,
)
from tfx_feeder.components.feeder_trainer.training.train_step import LOSS

pytestmark = [pytest.mark.multi_worker, pytest.mark.slow]

TWO = ("CPU:0", "CPU:1")
STRATEGIES = {
    "mirrored": (Mirrored(TWO), ProcessTopology("subprocess")),
    "central_storage": (CentralStorage(TWO), ProcessTopology("subprocess")),
    "multi_worker": (MultiWorker("local:2"), ProcessTopology("workers", 2)),
}


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Any]]:
    return synchronous.run(SingleDevice(), None)


@pytest.fixture(scope="module", params=STRATEGIES)
def together(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    strategy, topology = STRATEGIES[request.param]
    logs = tmp_path_factory.mktemp("logs")
    return launch_processes(synchronous.run, strategy, topology, log_dir=logs, restarts=0).result


@pytest.mark.parametrize("kind", [kind for kind in synchronous.KINDS if kind != "batch_norm"])
def test_training_matches_single_device_training(
    kind: str, alone: dict[str, dict[str, Any]], together: dict[str, dict[str, Any]]
) -> None:
    got, expected = together[kind], alone[kind]

    assert got["replicas"] == 2
    for mine, theirs in zip(got["weights"], expected["weights"], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got["rows"][:, LOSS], expected["rows"][:, LOSS], rtol=1e-4)
    for figures in ("trained", "evaluated"):
        assert got[figures] == pytest.approx(expected[figures], rel=1e-4)
    assert got["exact"]
    assert got["agreed"] == [1.5, 0.0]
    assert got["traces"] == 1
    assert got["compute_only_step_s"] is None or got["compute_only_step_s"] > 0


def test_batch_normalization_works(together: dict[str, dict[str, Any]]) -> None:
    got = together["batch_norm"]

    assert got["statistics_agree"]
    assert np.isfinite(got["rows"]).all()
    assert all(np.isfinite(values).all() for values in got["statistics"])
    assert any(np.abs(values).max() > 0 for values in got["statistics"])
