"""Parameter servers with real processes: results, unsupported models, and worker failures."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.components.feeder_trainer.distribution.workers import parameter_servers as jobs
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask, ProcessTopology
from tfx_feeder.components.feeder_trainer.distribution.launcher.supervisor import launch_processes
from tfx_feeder.components.feeder_trainer.distribution.options import ParameterServer
from tfx_feeder.components.feeder_trainer.distribution.parameter_server.steps import (
    ParameterServerSteps,
)
from tfx_feeder.components.feeder_trainer.distribution.parameter_server.strategy import (
    open_context,
)
from tfx_feeder.components.feeder_trainer.distribution.parameter_server.workers import (
    WorkerLostError,
)
from tfx_feeder.components.feeder_trainer.training.train_step import (
    BATCH_SQ_NORM,
    LOSS,
    MICRO_BATCH_SIZE,
    MICRO_SQ_NORM,
)

pytestmark = [pytest.mark.multi_worker, pytest.mark.slow]

SERVERS = ProcessTopology("parameter_servers", 2)
EXACT = [case for case in jobs.CASES if case != "half"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("logs")
    return launch_processes(
        jobs.compare, "parameter_server_sync", SERVERS, log_dir=folder, restarts=0
    ).result


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return launch_processes(
        jobs.race, "", SERVERS, log_dir=tmp_path_factory.mktemp("logs"), restarts=0
    ).result


@pytest.mark.parametrize("case", EXACT)
def test_synchronous_training_matches_single_device_training(
    compared: dict[str, Any], case: str
) -> None:
    alone, together = compared[case]

    for part in ("weights", "optimizer"):
        for expected, value in zip(alone[part], together[part], strict=True):
            np.testing.assert_allclose(value, expected, atol=2e-5)
    np.testing.assert_allclose(together["rows"][:, LOSS], alone["rows"][:, LOSS], rtol=1e-4)
    assert together["metrics"] == pytest.approx(alone["metrics"], rel=1e-4)
    assert together["evaluated"] == pytest.approx(alone["evaluated"], rel=1e-4)


def test_one_trace_serves_all_sizes_even_after_a_restore(compared: dict[str, Any]) -> None:
    # One for the workers, and one each for the update and the metrics on the coordinator.
    assert {compared[case][1]["traces"] for case in jobs.CASES} == {3}


def test_the_loss_scale_of_half_precision_is_kept(compared: dict[str, Any]) -> None:
    alone, together = compared["half"]

    assert together["evaluated"]["loss"] == pytest.approx(alone["evaluated"]["loss"], rel=0.1)
    assert np.isfinite(together["rows"][:, LOSS]).all()


def test_a_loss_with_sum_reduction_is_rejected(compared: dict[str, Any]) -> None:
    assert "parameter_server_sync, for a loss with the reduction sum" in compared["sum"]


def test_the_noise_scale_uses_the_shards_of_the_workers(compared: dict[str, Any]) -> None:
    alone, together = (each["rows"] for each in compared["adam"])
    equal = alone[:, MICRO_BATCH_SIZE] > 0

    assert equal.sum() == 5
    for column in (MICRO_BATCH_SIZE, MICRO_SQ_NORM, BATCH_SQ_NORM):
        np.testing.assert_allclose(together[equal, column], alone[equal, column], rtol=1e-4)
    assert not together[~equal, MICRO_BATCH_SIZE].any()


def test_a_learning_rate_reaches_the_servers(
    compared: dict[str, Any], raced: dict[str, Any]
) -> None:
    assert all(compared["adam"][1]["unmoved"])
    assert all(raced["counted"]["unmoved"])


def test_asynchronous_training_applies_each_batch_once(raced: dict[str, Any]) -> None:
    np.testing.assert_array_equal(raced["applied"], 2.0)


def test_asynchronous_training_counts_exactly(raced: dict[str, Any]) -> None:
    counted = raced["counted"]
    iterations = counted["optimizer"][0]
    rows = counted["rows"]

    assert iterations == len(rows) == len(jobs.SIZES)
    mean = np.average(rows[:, LOSS], weights=jobs.SIZES)
    assert counted["metrics"]["loss"] == pytest.approx(mean, rel=1e-5)


def test_asynchronous_training_learns_with_batch_normalization(raced: dict[str, Any]) -> None:
    learned = raced["learned"]

    assert learned["evaluated"]["accuracy"] > 0.9
    assert "Gradient staleness: mean" in learned["history_note"]


def test_the_correction_lowers_the_momentum_of_the_optimizer(raced: dict[str, Any]) -> None:
    assert raced["momentum"] == pytest.approx(0.8)


def test_a_failed_call_is_reported_and_does_not_affect_later_calls(raced: dict[str, Any]) -> None:
    assert "label value of 99" in raced["error"]
    assert np.isfinite(raced["after_error"]).all()


@pytest.mark.parametrize(
    "what", ["train_step", "noise_scale", "max_micro_batch_size", "mixed_float16", "momentum"]
)
def test_options_unsupported_by_asynchronous_training_are_rejected(
    raced: dict[str, Any], what: str
) -> None:
    message = raced["refused"][what]

    assert "parameter_server" in message or what == "momentum"
    assert what.replace("_", " ") in message.replace("_", " ")


def test_a_model_that_runs_eagerly_is_rejected(model: keras.Model) -> None:
    model.run_eagerly = True
    unused: Any = None
    with pytest.raises(ConfigError, match="run_eagerly=True"):
        ParameterServerSteps("parameter_server_sync", unused, unused, model, lambda x: x)


@pytest.mark.parametrize(
    "options",
    [{"gradient_accumulation_steps": 2}, {"use_ema": True, "ema_overwrite_frequency": 2}],
)
def test_an_optimizer_that_skips_updates_is_rejected(
    model: keras.Model, options: dict[str, Any]
) -> None:
    model.compile(keras.optimizers.SGD(0.1, **options), "mse")
    unused: Any = None
    with pytest.raises(ConfigError, match=list(options)[-1]):
        ParameterServerSteps("parameter_server_sync", unused, unused, model, lambda x: x)


def test_a_task_without_servers_is_rejected() -> None:
    with pytest.raises(ConfigError, match="TF_CONFIG"):
        open_context(ParameterServer("env"), ClusterTask({"worker": ("a:1", "b:1")}, "worker", 0))


@pytest.mark.parametrize("strategy", ["parameter_server", "parameter_server_sync"])
def test_training_continues_without_killed_workers_until_they_rejoin(
    strategy: str, tmp_path: Path
) -> None:
    ran = launch_processes(jobs.survive, strategy, SERVERS, log_dir=tmp_path)

    assert [failure[:8] for failure in ran.failures] == ["worker-1", "worker-0"]
    # While worker 0 was down, only worker 1, which had rejoined, could continue.
    assert ran.result["during"] > 0
    assert ran.result["iterations"] == 64 * ran.result["calls"]
    assert ran.result["examples"] == 4 * 64 * ran.result["calls"]
    surplus = ran.result["applied"] - ran.result["calls"]
    assert surplus.min() >= 0
    assert surplus.sum() <= (2 if strategy == "parameter_server" else 0)


@pytest.mark.parametrize(
    ("which", "error", "words"),
    [
        ("worker-0", WorkerLostError.__name__, "None of the workers"),
        ("ps-0", "UnavailableError", "/job:ps"),
    ],
)
def test_the_failure_of_all_servers_ends_the_training(
    which: str, error: str, words: str, tmp_path: Path
) -> None:
    name, message, seconds = launch_processes(
        jobs.lose_all, which, ProcessTopology("subprocess"), log_dir=tmp_path, restarts=0
    ).result

    assert name == error
    assert words in message
    assert seconds < 60
