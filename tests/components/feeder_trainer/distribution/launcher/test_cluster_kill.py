"""Distributed trainings with killed processes give the results of undisturbed ones."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.components.feeder_trainer.distribution.workers import cluster_training
from tests.components.feeder_trainer.distribution.workers.waiting import wait_for
from tfx_feeder.components.feeder_trainer.distribution.options import (
    MultiWorker,
    PeerAveraging,
    SingleDevice,
    Strategy,
)
from tfx_feeder.components.feeder_trainer.train import train
from tfx_feeder.schemas.training_history import History

pytestmark = [pytest.mark.multi_worker, pytest.mark.slow]


def weights(folder: Path) -> list[np.ndarray]:
    """Returns the counts per example of all replicas and of the chief, then the weights."""
    model = keras.models.load_model(folder / "keras" / "model.keras")
    return [keras.ops.convert_to_numpy(v) for v in model.weights]


def kill(folder: Path, name: str) -> None:
    deadline = time.monotonic() + 300
    while not (folder / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(int((folder / name).read_text()), signal.SIGKILL)


def train_and_kill(folder: Path, strategy: Strategy, victim: str) -> History:
    killer = threading.Thread(target=kill, args=(folder, victim), daemon=True)
    killer.start()
    history = train(cluster_training.job(folder, strategy))
    killer.join()
    return history


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    folder = tmp_path_factory.mktemp("undisturbed")
    train(cluster_training.job(folder, SingleDevice()))
    return weights(folder)


def assert_equal(got: list[np.ndarray], expected: list[np.ndarray]) -> None:
    np.testing.assert_array_equal(got[0], np.full(cluster_training.NUM_EXAMPLES, 30))
    for mine, theirs in zip(got[2:], expected[2:], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("victim", ["worker-0", "worker-1"])
def test_no_example_is_skipped_after_a_worker_failure(
    victim: str, undisturbed: list[np.ndarray], tmp_path: Path
) -> None:
    history = train_and_kill(tmp_path / "job", MultiWorker("local:2"), victim)

    kinds = [event.kind for event in history.events]
    assert (kinds.count("resume"), kinds.count("restart")) == (1, 1)
    assert history.placement is not None
    assert history.placement.attempts == 2
    assert [row.examples for row in history.epochs] == [203] * cluster_training.EPOCHS
    assert_equal(weights(tmp_path / "job"), undisturbed)


def test_training_resumes_with_another_number_of_workers(
    undisturbed: list[np.ndarray], tmp_path: Path
) -> None:
    folder = tmp_path / "job"
    context = multiprocessing.get_context("spawn")
    parent = context.Process(target=cluster_training.train_over_three, args=(str(folder),))
    parent.start()
    kill(folder, "parent")
    parent.join()

    history = train(cluster_training.job(folder, MultiWorker("local:2")))

    assert [event.kind for event in history.events].count("resume") == 1
    assert {row.replicas for row in history.epochs} == {2, 3}
    assert_equal(weights(folder), undisturbed)


def test_a_killed_peer_restarts_all_workers(tmp_path: Path) -> None:
    folder = tmp_path / "job"

    history = train_and_kill(folder, PeerAveraging("local:2"), "worker-1")

    assert history.placement is not None
    assert history.placement.attempts == 2
    assert [row.examples for row in history.epochs] == [203] * cluster_training.EPOCHS
    assert all(np.isfinite(values).all() for values in weights(folder))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_team_saves_a_checkpoint_and_ends(number, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    context = multiprocessing.get_context("spawn")
    parent = context.Process(target=cluster_training.train_without_checkpoints, args=(str(folder),))
    parent.start()
    wait_for((folder / "ready").exists, 240)
    assert not list((folder / "checkpoints").glob("at-*"))
    began = time.monotonic()
    os.kill(parent.pid, number)
    parent.join()
    print(f"ended {time.monotonic() - began:.2f} s after {number.name}")

    (checkpoint,) = (folder / "checkpoints").glob("at-*")
    assert (checkpoint / "hashes.json").exists()
    assert int(checkpoint.name.removeprefix("at-")) >= 5 * cluster_training.NUM_EXAMPLES
    for name in ("worker-0", "worker-1"):
        pid = int((folder / name).read_text())
        wait_for(lambda pid=pid: not Path(f"/proc/{pid}").exists())
