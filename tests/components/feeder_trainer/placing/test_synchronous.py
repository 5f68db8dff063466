"""Synchronous strategies come to what a sequential training comes to."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_feeder.components.feeder_trainer.placing.layout import Layout
from tfx_feeder.components.feeder_trainer.placing.processes import run
from tfx_feeder.components.feeder_trainer.step import LOSS
from tfx_feeder.components.feeder_trainer.strategies import Strategy

sys.path.insert(0, str(Path(__file__).parent))  # So that a child process finds the job as well.

import sync_job

pytestmark = [pytest.mark.multi_worker, pytest.mark.slow]

TWO = ("CPU:0", "CPU:1")
PLACED = {
    "mirrored": (Strategy.mirrored(TWO), Layout("process")),
    "central_storage": (Strategy.central_storage(TWO), Layout("process")),
    "multi_worker": (Strategy.multi_worker("local:2"), Layout("team", 2)),
}


@pytest.fixture(scope="module", params=["plain", "weighted", "clipping", "micro", "noise"])
def expected(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return request.param, sync_job.run((Strategy.sequential(), request.param), None)


@pytest.mark.parametrize("name", PLACED)
def test_it_trains_as_a_sequential_one(
    name: str, expected: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    kind, alone = expected
    strategy, layout = PLACED[name]

    got = run(sync_job.run, (strategy, kind), layout, log_dir=tmp_path, restarts=0).result

    assert got["replicas"] == 2
    for mine, theirs in zip(got["weights"], alone["weights"], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got["rows"][:, LOSS], alone["rows"][:, LOSS], rtol=1e-4)
    for figures in ("trained", "evaluated"):
        assert got[figures] == pytest.approx(alone[figures], rel=1e-4)
    assert got["exact"]
    assert got["agreed"] == [1.5, 0.0]
    assert got["traces"] == 1
    assert (got["alone_s"] or 0) > 0 or name == "central_storage"


@pytest.mark.parametrize("name", PLACED)
def test_batch_normalization_works(name: str, tmp_path: Path) -> None:
    strategy, layout = PLACED[name]

    got = run(sync_job.run, (strategy, "batch_norm"), layout, log_dir=tmp_path, restarts=0).result

    assert np.isfinite(got["rows"]).all()
    assert all(np.isfinite(values).all() for values in got["statistics"])
    assert any(np.abs(values).max() > 0 for values in got["statistics"])
