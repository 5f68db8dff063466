"""Checkpoints are complete or absent, and the last intact one is restored."""

import dataclasses

import numpy as np
import pytest

from tfx_feeder.components.feeder_trainer.schedules.policy import make_plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.training.checkpoint import (
    Checkpoint,
    CheckpointManager,
    LoopState,
    TrainingCheckpoint,
)
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder


def checkpoint(examples_seen: int) -> Checkpoint:
    arrays = {"model/0/kernel": np.full((2, 3), examples_seen, np.float32)}
    return Checkpoint(examples_seen, arrays, {"reason": "start", "rows": [1, 2]})


@pytest.fixture
def folder(tmp_path) -> CheckpointManager:
    return CheckpointManager(tmp_path / "checkpoints", every_examples=100)


def read(folder: CheckpointManager) -> tuple[Checkpoint | None, list[str]]:
    warnings: list[str] = []
    return folder.restore_latest(warnings.append), warnings


def test_what_is_written_is_read_back(folder):
    folder.save(checkpoint(64))
    got, warnings = read(folder)
    assert got is not None
    assert (got.examples_seen, got.state) == (64, {"reason": "start", "rows": [1, 2]})
    np.testing.assert_array_equal(got.arrays["model/0/kernel"], np.full((2, 3), 64.0))
    assert warnings == []


def test_an_empty_folder_has_none(folder):
    assert read(folder) == (None, [])
    assert folder.latest_path() is None


def test_the_newest_are_kept(tmp_path):
    folder = CheckpointManager(tmp_path, keep=2)
    for examples in (9, 100, 1000):
        folder.save(checkpoint(examples))
    assert [path.name[-4:] for path in sorted(tmp_path.glob("at-*"))] == ["0100", "1000"]


@pytest.mark.parametrize("name", ["arrays.npz", "state.json", "hashes.json"])
def test_a_damaged_one_is_skipped_for_the_one_before(folder, name):
    folder.save(checkpoint(64))
    last = folder.save(checkpoint(128))
    damaged = last / name
    damaged.write_bytes(damaged.read_bytes()[:-7])
    got, warnings = read(folder)
    assert got is not None
    assert got.examples_seen == 64
    assert len(warnings) == 1
    assert str(last) in warnings[0]


def test_a_half_written_one_is_not_seen(folder):
    folder.save(checkpoint(64))
    partial = folder.folder / ".partial-1"
    partial.mkdir()
    (partial / "arrays.npz").write_bytes(b"PK")
    got, warnings = read(folder)
    assert got is not None
    assert got.examples_seen == 64
    assert warnings == []


def test_it_should_save_by_examples(folder):
    assert not folder.should_save(99)
    assert folder.examples_until_due(60) == 40
    assert folder.should_save(100)
    folder.save(checkpoint(100))
    assert not folder.should_save(150)
    assert folder.should_save(200)


def test_a_resumed_folder_counts_from_where_it_stopped(folder):
    folder.save(checkpoint(1000))
    again = CheckpointManager(folder.folder, every_examples=100)
    again.restore_latest(lambda message: None)
    assert not again.should_save(1050)


def test_stored_names_are_those_of_earlier_releases(folder, model):
    plan = make_plan(Schedule.from_value("0.1:8x2"), num_examples=16)
    state = LoopState(rows=np.zeros((1, 6)), seconds=2.0)
    state.begin_phase(plan.remaining_epochs()[0])
    TrainingCheckpoint(folder, model, plan, Recorder()).save(state, 8)
    saved, _ = read(folder)
    assert saved is not None
    assert sorted(saved.state) == [
        "callbacks",
        "first_step_s",
        "next_reason",
        "phase",
        "plan",
        "reason",
        "recorder",
        "seconds",
        "stopped",
        "to_beat",
    ]
    restored = TrainingCheckpoint(folder, model, plan, Recorder()).restore()
    assert restored is not None
    assert dataclasses.astuple(restored)[:3] == dataclasses.astuple(state)[:3]
    assert (restored.steps_done, restored.seconds, restored.phase_fits) == (1, 2.0, False)


def test_remove_leaves_nothing(folder):
    folder.save(checkpoint(64))
    folder.remove()
    assert not folder.folder.exists()
