"""A training that is killed again and again ends as if nothing had happened."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.components.feeder_trainer.distribution.workers import cluster_training
from tests.components.feeder_trainer.workers import kill_training
from tfx_feeder.components.feeder_trainer.distribution.cluster import ProcessTopology
from tfx_feeder.components.feeder_trainer.distribution.options import MultiWorker

KILLS = int(os.environ.get("TFX_FEEDER_TEST_KILLS", 5 if os.environ.get("CI") else 20))
"""Kills of each training."""
SCHEDULE = "0.01:8x{0}, 0.005:32x{0}, 0.0025:64x{0}".format(4 * KILLS)


def run(forked, folder: Path, **options):
    folder.mkdir(exist_ok=True)
    process = forked.Process(target=kill_training.run, args=(str(folder),), kwargs=options)
    process.start()
    return process


def result(folder: Path) -> tuple[dict, list[np.ndarray]]:
    with np.load(folder / "result.npz") as file:
        figures = {name: file[name] for name in file.files}
    return figures, keras.models.load_model(folder / "keras" / "model.keras").get_weights()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "two optimizers", "sparse", "streamed"])
def test_a_training_killed_at_random_moments_ends_like_an_uninterrupted_one(forked, tmp_path, kind):
    kill_training.write_data(tmp_path / "data")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    options = {"kind": kind, "schedule": SCHEDULE}
    process = run(forked, whole, **options)
    process.join(300)
    assert process.exitcode == 0

    kill_again_and_again(killed, lambda: [run(forked, killed, **options)], 0.2)
    process = run(forked, killed, **options)
    process.join(300)
    assert process.exitcode == 0

    expected, expected_weights = result(whole)
    got, got_weights = result(killed)
    assert expected["resumes"] == 0
    assert got["resumes"] == KILLS
    for name in ("losses", "rates", "examples"):
        np.testing.assert_array_equal(got[name], expected[name])
    for weight, expected_weight in zip(got_weights, expected_weights, strict=True):
        np.testing.assert_array_equal(weight, expected_weight)
    counts = next(w for w in got_weights if w.shape == (kill_training.NUM_EXAMPLES,))
    np.testing.assert_array_equal(counts, len(got["examples"]))
    assert not (killed / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.multi_worker
def test_a_team_killed_at_random_moments_ends_like_an_uninterrupted_one(forked, tmp_path):
    epochs = 6 * KILLS
    schedule = f"0.01:16x{epochs // 2}, 0.005:32x{epochs // 2}"

    def start(folder: Path) -> list:
        members = [
            forked.Process(
                target=cluster_training.run_member, args=(str(folder), task.to_json(), schedule)
            )
            for task in ProcessTopology("workers", 2).tasks()
        ]
        for member in members:
            member.start()
        return members

    def finish(folder: Path) -> tuple[int, list[np.ndarray]]:
        members = start(folder)
        for member in members:
            member.join(300)
        assert [member.exitcode for member in members] == [0, 0]
        with np.load(folder / "result.npz") as file:
            weights = [file[name] for name in file.files if name != "resumes"]
            return int(file["resumes"]), weights

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        cluster_training.job(folder, MultiWorker("local:2"))
    resumes, expected = finish(whole)
    assert resumes == 0
    kill_again_and_again(killed, lambda: start(killed), 0.2)
    resumes, got = finish(killed)

    assert resumes == KILLS
    for weight, expected_weight in zip(got, expected, strict=True):
        np.testing.assert_array_equal(weight, expected_weight)
    counts = next(w for w in got if w.shape == (cluster_training.NUM_EXAMPLES,))
    np.testing.assert_array_equal(counts, epochs)


def kill_again_and_again(folder: Path, start: Callable[[], list], longest_s: float) -> None:
    """Kills a training at random moments after it has saved a checkpoint.

    Args:
        folder: Folder of the training.
        start: Starts the processes of the training. One of them is killed, then the others, as
            their supervisor does.
        longest_s: Longest time from a checkpoint to the kill, in seconds.
    """
    dice = random.Random(1)
    for _ in range(KILLS):
        before, processes = _newest(folder), start()
        while _newest(folder) == before and all(each.is_alive() for each in processes):
            time.sleep(0.01)
        time.sleep(dice.uniform(0, longest_s))
        assert all(each.is_alive() for each in processes), "the training is too short"
        for process in dice.sample(processes, len(processes)):
            os.kill(process.pid, signal.SIGKILL)
            process.join()


@pytest.mark.slow
def test_a_killed_training_remembers_what_it_has_to_beat_and_gives_up_alike(forked, tmp_path):
    kill_training.write_data(tmp_path / "data")
    base, whole, killed = (tmp_path / name for name in ("base", "whole", "killed"))
    hopeless = {"schedule": "1e-7:8x200", "baseline": str(base / "keras")}
    for folder, options in ((base, {"schedule": "0.01:8x5"}), (whole, hopeless)):
        process = run(forked, folder, **options)
        process.join(300)
        assert process.exitcode == 0

    process = run(forked, killed, **hopeless)
    while not _newest(killed) and process.is_alive():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    shutil.rmtree(base)  # What it came to is known by now.
    process = run(forked, killed, **hopeless)
    process.join(300)
    assert process.exitcode == 0

    (expected, expected_weights), (got, got_weights) = result(whole), result(killed)
    assert got["resumes"] == 1
    assert len(got["messages"]) == 2
    for name in ("messages", "losses", "examples"):
        np.testing.assert_array_equal(got[name], expected[name])
    assert 30 <= len(got["losses"]) < 200
    for weight, expected_weight in zip(got_weights, expected_weights, strict=True):
        np.testing.assert_array_equal(weight, expected_weight)


def _newest(folder: Path) -> str:
    complete = (folder / "checkpoints").glob("at-*/hashes.json")
    return max((path.parent.name for path in complete), default="")


@pytest.mark.slow
def test_a_training_follows_a_deterministic_one_in_one_process(forked, tmp_path):
    kill_training.write_data(tmp_path / "data")
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    process = forked.Process(
        target=kill_training.run_after_a_deterministic_one, args=[str(path) for path in folders]
    )
    process.start()
    process.join(300)
    assert process.exitcode == 0
    assert len(result(folders[1])[0]["losses"]) == 1
