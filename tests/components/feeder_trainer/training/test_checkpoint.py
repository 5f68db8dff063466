"""Checkpoints are whole or not there, and the last good one is found."""

import numpy as np
import pytest

from tfx_feeder.components.feeder_trainer.training.checkpoint import Checkpoint, CheckpointManager


def checkpoint(examples_seen: int) -> Checkpoint:
    arrays = {"model/0/kernel": np.full((2, 3), examples_seen, np.float32)}
    return Checkpoint(examples_seen, arrays, {"reason": "start", "rows": [1, 2]})


@pytest.fixture
def folder(tmp_path) -> CheckpointManager:
    return CheckpointManager(tmp_path / "checkpoints", every_examples=100)


def read(folder: CheckpointManager) -> tuple[Checkpoint | None, list[str]]:
    warnings: list[str] = []
    return folder.read_last(warnings.append), warnings


def test_what_is_written_is_read_back(folder):
    folder.write(checkpoint(64))
    got, warnings = read(folder)
    assert got is not None
    assert (got.examples_seen, got.state) == (64, {"reason": "start", "rows": [1, 2]})
    np.testing.assert_array_equal(got.arrays["model/0/kernel"], np.full((2, 3), 64.0))
    assert warnings == []


def test_an_empty_folder_has_none(folder):
    assert read(folder) == (None, [])
    assert folder.last_path() is None


def test_the_newest_are_kept(tmp_path):
    folder = CheckpointManager(tmp_path, keep=2)
    for examples in (9, 100, 1000):
        folder.write(checkpoint(examples))
    assert [path.name[-4:] for path in sorted(tmp_path.glob("at-*"))] == ["0100", "1000"]


@pytest.mark.parametrize("name", ["arrays.npz", "state.json", "hashes.json"])
def test_a_damaged_one_is_skipped_for_the_one_before(folder, name):
    folder.write(checkpoint(64))
    last = folder.write(checkpoint(128))
    damaged = last / name
    damaged.write_bytes(damaged.read_bytes()[:-7])
    got, warnings = read(folder)
    assert got is not None
    assert got.examples_seen == 64
    assert len(warnings) == 1
    assert str(last) in warnings[0]


def test_a_half_written_one_is_not_seen(folder):
    folder.write(checkpoint(64))
    partial = folder.folder / ".partial-1"
    partial.mkdir()
    (partial / "arrays.npz").write_bytes(b"PK")
    got, warnings = read(folder)
    assert got is not None
    assert got.examples_seen == 64
    assert warnings == []


def test_it_is_due_by_examples(folder):
    assert not folder.is_due(99)
    assert folder.examples_until_due(60) == 40
    assert folder.is_due(100)
    folder.write(checkpoint(100))
    assert not folder.is_due(150)
    assert folder.is_due(200)


def test_a_resumed_folder_counts_from_where_it_stopped(folder):
    folder.write(checkpoint(1000))
    again = CheckpointManager(folder.folder, every_examples=100)
    again.read_last(lambda message: None)
    assert not again.is_due(1050)


def test_remove_leaves_nothing(folder):
    folder.write(checkpoint(64))
    folder.remove()
    assert not folder.folder.exists()
