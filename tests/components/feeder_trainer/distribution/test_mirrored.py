"""Replicated training matches single-device training for every supported kind of loss."""

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
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    logs = tmp_path_factory.mktemp("logs")
    return launch_processes(
        replicas.run, None, ProcessTopology("subprocess"), log_dir=logs, restarts=0
    ).result


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["mirrored", "central_storage"])
@pytest.mark.parametrize("kind", replicas.TRAINED)
def test_three_replicas_match_single_device_training(
    strategy: str, kind: str, outcomes: dict[str, Any]
) -> None:
    got, alone = outcomes[strategy][kind], outcomes["sequential"][kind]

    np.testing.assert_allclose(got["losses"], alone["losses"], rtol=1e-4)
    for mine, theirs in zip(got["weights"], alone["weights"], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    assert got["results"] == pytest.approx(alone["results"], rel=1e-4)
    assert got["results"]["seen"] == sum(replicas.SIZES)
    assert got["changed"] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", replicas.REFUSED)
def test_unsupported_models_are_rejected(kind: str, outcomes: dict[str, Any]) -> None:
    _, named = replicas.REFUSED[kind]

    assert named in outcomes["refused"][kind]


@pytest.mark.slow
def test_replicas_average_the_statistics_that_each_collects(outcomes: dict[str, Any]) -> None:
    before, after = outcomes["statistics"]["before"], outcomes["statistics"]["after"]

    moving = [name for name, values in before.items() if (values != values[0]).any()]
    assert sorted(moving) == ["model/norm/moving_mean", "model/norm/moving_variance"]
    for name, values in before.items():
        if name in moving:
            assert (after[name] == after[name][0]).all()
            np.testing.assert_allclose(after[name][0], values.mean(axis=0), rtol=1e-5, atol=1e-7)
        else:
            np.testing.assert_array_equal(after[name], values)


@pytest.mark.slow
def test_all_replicas_skip_a_step_that_overflows_on_one(outcomes: dict[str, Any]) -> None:
    overflow = outcomes["overflow"]

    np.testing.assert_array_equal(overflow["after"], overflow["before"])
    assert overflow["scale"] == 2.0**109


def test_workers_require_a_cluster() -> None:
    with pytest.raises(ConfigError, match="TF_CONFIG"):
        open_context(MultiWorker("env"), None)


@pytest.mark.parametrize("address", ["", "grpc://localhost:1", "grpc://nowhere"])
def test_a_machine_without_a_tpu_is_an_error(address: str) -> None:
    with pytest.raises(ConfigError, match="expected a TPU"):
        open_context(TPU(address), None)
