"""Checkpoints are complete or absent, and belong to one training; the last intact one is used."""

import contextlib
import dataclasses
import errno
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from tfx_feeder.common.errors import ConfigError, FeederError
from tfx_feeder.components.feeder_trainer.feed.base import Feed
from tfx_feeder.components.feeder_trainer.schedules.policy import make_plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.training.checkpoint import LoopState, TrainingCheckpoint
from tfx_feeder.components.feeder_trainer.training.checkpoint_files import Checkpoint
from tfx_feeder.components.feeder_trainer.training.checkpoint_manager import (
    CheckpointManager,
)
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder


def checkpoint(examples_seen: int) -> Checkpoint:
    arrays = {"model/0/kernel": np.full((2, 3), examples_seen, np.float32)}
    return Checkpoint(examples_seen, arrays, {"reason": "start", "rows": [1, 2]})


class Manager(CheckpointManager):
    """Waits for each write, for tests of what was written."""

    def save(self, checkpoint: Checkpoint, **arguments) -> Path:
        path = super().save(checkpoint, **arguments)
        assert self.finish() is None
        return path


@pytest.fixture
def folder(tmp_path) -> CheckpointManager:
    return Manager(tmp_path / "checkpoints", every_examples=100)


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
    folder = Manager(tmp_path, keep=2)
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


@pytest.mark.parametrize("content", ["[]", "{}", "null"])
def test_one_without_hashes_is_damaged(folder, content):
    folder.save(checkpoint(64))
    (folder.save(checkpoint(128)) / "hashes.json").write_text(content)
    got, warnings = read(folder)
    assert got is not None
    assert got.examples_seen == 64
    assert "holds no hashes" in warnings[0]


def test_a_half_written_one_is_not_seen(folder):
    folder.save(checkpoint(64))
    for name in (".partial-1", "at-000000000000128"):
        partial = folder.folder / name
        partial.mkdir()
        (partial / "arrays.npz").write_bytes(b"PK")
    got, warnings = read(folder)
    assert got is not None
    assert got.examples_seen == 64
    assert warnings == []
    folder.save(checkpoint(96))
    assert sorted(path.name[-3:] for path in folder.folder.iterdir()) == ["064", "096"]


def test_the_hashes_are_written_last_and_no_folder_is_renamed(folder, monkeypatch):
    renamed = []
    replace = os.replace

    def rename(source, target):
        assert not Path(source).is_dir(), "mounts of object stores refuse this"
        renamed.append((Path(target).name, sorted(os.listdir(Path(target).parent))))
        replace(source, target)

    monkeypatch.setattr(os, "replace", rename)
    monkeypatch.setattr(os, "rename", rename)
    folder.save(checkpoint(64))
    ((name, present),) = renamed
    assert name == "hashes.json"
    assert set(present) >= {"arrays.npz", "state.json"}
    assert name not in present


def test_a_damaged_one_at_a_later_position_does_not_replace_a_new_one(tmp_path):
    folder = Manager(tmp_path, keep=1)
    last = folder.save(checkpoint(128))
    (last / "state.json").write_text("{")
    assert read(folder)[0] is None
    folder.save(checkpoint(64))
    got, _ = read(Manager(tmp_path))
    assert got is not None
    assert got.examples_seen == 64


def test_types_that_numpy_does_not_know_are_read_back(folder):
    weights = np.arange(3).astype("bfloat16")
    scalar = np.asarray(2.5, "float8_e4m3fn")
    folder.save(Checkpoint(8, {"a": weights, "b": scalar, "c": np.arange(2)}, {}))
    got, _ = read(folder)
    assert got is not None
    assert {name: str(array.dtype) for name, array in got.arrays.items()} == {
        "a": "bfloat16",
        "b": "float8_e4m3fn",
        "c": "int64",
    }
    np.testing.assert_array_equal(got.arrays["a"], weights)
    assert got.arrays["b"] == scalar


def test_it_should_save_by_examples(folder):
    assert not folder.should_save(99)
    assert folder.examples_until_due(60) == 40
    assert folder.should_save(100)
    folder.save(checkpoint(100))
    assert not folder.should_save(150)
    assert folder.should_save(200)


def test_it_does_not_write_the_newest_checkpoint_again(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    manager = CheckpointManager(tmp_path, every_s=1, keep=1)
    now = 2.0
    assert manager.should_save(100)
    manager.save(checkpoint(100))
    manager.finish()
    now = 4.0
    assert not manager.should_save(100)  # Replacing it would leave none for a moment.
    assert manager.should_save(101)


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
    folder.close()
    saved, _ = read(folder)
    assert saved is not None
    assert sorted(saved.state) == [
        "callbacks",
        "feed_order",
        "first_step_s",
        "layers",
        "lr_scale_factor",
        "next_reason",
        "phase",
        "plan",
        "reason",
        "recorder",
        "seconds",
        "stopped",
        "to_beat",
    ]
    again = TrainingCheckpoint(folder, model, plan, Recorder())
    assert again.find()
    restored = again.restore()
    assert dataclasses.astuple(restored)[:3] == dataclasses.astuple(state)[:3]
    assert (restored.steps_done, restored.seconds, restored.phase_fits) == (1, 2.0, False)


class OrderedFeed(Feed):
    """Feed of 16 examples in an order with a name."""

    num_examples = 16

    def __init__(self, order: str) -> None:
        self.order = order

    def batches(self, epochs, batch_size):
        raise NotImplementedError

    stage_datasets = batches


@pytest.mark.parametrize(
    ("saved", "resumed"), [(None, "blocks"), ("files of 2", "files of 3"), ("files of 2", "")]
)
def test_another_order_of_the_examples_is_refused_within_a_pass(tmp_path, model, saved, resumed):
    @contextlib.contextmanager
    def opened(order: str | None):
        feed = None if order is None else OrderedFeed(order)
        plan = make_plan(Schedule.from_value("0.1:8x2"), num_examples=16)
        with contextlib.closing(Manager(tmp_path / "checkpoints")) as manager:
            yield TrainingCheckpoint(manager, model, plan, Recorder(), feed=feed)

    with opened(saved) as within_a_pass:
        within_a_pass.save(LoopState(rows=np.zeros((1, 6))), 8)
        found, _ = read(within_a_pass.manager)
        assert found is not None
        if saved is None:  # Release 0.1.0 stored no order.
            del found.state["feed_order"]
            within_a_pass.manager.save(found)
    with opened(saved or "") as same:
        assert same.find()
    with opened(resumed) as other, pytest.raises(ConfigError, match=f"the order '{resumed}'"):
        other.find()

    found.arrays["rows"] = np.zeros((2, 6))  # The last step of the pass.
    with opened(saved) as at_its_end:
        at_its_end.manager.save(found)
    with opened(resumed) as other:
        assert other.find()


def test_remove_leaves_nothing(folder):
    folder.save(checkpoint(64))
    folder.remove()
    assert not folder.folder.exists()


def test_another_training_does_not_take_it(tmp_path):
    base = tmp_path / "checkpoints"
    mine, other = {"code": "a", "schedule": "b"}, {"code": "a", "schedule": "c"}
    first = Manager(base, training_id=mine)
    first.open(print)
    first.save(checkpoint(64))
    first.close()

    warnings: list[str] = []
    second = Manager(base, training_id=other, keep=1)
    assert second.open(warnings.append) == 2
    assert second.restore_latest(warnings.append) is None
    assert len(warnings) == 1
    assert "differs in its schedule" in warnings[0]
    for examples in (8, 16):
        second.save(checkpoint(examples))
    second.close()

    for training_id, examples in ((mine, 64), (other, 16)):
        again = Manager(base, training_id=training_id)
        again.open(print)
        got = again.restore_latest(warnings.append)
        assert got is not None
        assert got.examples_seen == examples
        again.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_identity_does_not_hide_the_checkpoint_before(tmp_path):
    identity = {"code": "abc"}
    folder = Manager(tmp_path / "checkpoints", training_id=identity)
    folder.open([].append)
    folder.save(checkpoint(64))
    state = folder.save(checkpoint(128)) / "state.json"
    folder.close()
    state.write_bytes(state.read_bytes().replace(b"abc", b"abb"))
    later, warnings = CheckpointManager(tmp_path / "checkpoints", training_id=identity), []
    assert later.open(warnings.append) == 1
    got = later.restore_latest(warnings.append)
    later.close()
    assert got is not None
    assert got.examples_seen == 64
    assert len(warnings) == 1
    assert "is damaged and was skipped" in warnings[0]


def test_a_checkpoint_without_an_identity_is_of_release_0_1_0_and_taken(folder):
    path = folder.save(checkpoint(64))
    state = json.loads((path / "state.json").read_text())
    assert state.pop("training") == {}
    later = CheckpointManager(folder.folder, training_id={"code": "a"})
    assert later.open(print) == 1
    got, _ = read(later)
    assert got is not None


def test_two_running_processes_do_not_share_a_folder(tmp_path):
    base = tmp_path / "checkpoints"
    first, second = Manager(base), Manager(base)
    warnings: list[str] = []
    assert (first.open(print), second.open(warnings.append)) == (1, 2)
    assert len(warnings) == 1
    first.save(checkpoint(64))
    second.save(checkpoint(8))
    second.remove()
    got, _ = read(first)
    assert got is not None
    assert got.examples_seen == 64
    first.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_free_again_is_taken(tmp_path):
    first = Manager(tmp_path / "checkpoints")
    first.open(print)
    first.close()
    assert list(tmp_path.iterdir()) == []
    assert Manager(tmp_path / "checkpoints").open(print) == 1


def test_a_write_that_fails_warns_and_the_run_goes_on(folder, model, monkeypatch):
    plan, recorder = make_plan(Schedule.from_value("0.1:8x2"), num_examples=16), Recorder()
    manager = CheckpointManager(folder.folder)
    saving = TrainingCheckpoint(manager, model, plan, recorder)
    saving.save(LoopState(), 8)
    saving.finish()

    def full(file, **_):
        full.calls += 1
        raise OSError(errno.ENOSPC, "No space left on device", f"at-{full.calls}")

    full.calls = 0
    monkeypatch.setattr(np, "savez", full)
    for position in (16, 24):
        saving.save(LoopState(), position)
        saving.finish()
        assert not manager.is_saved(position)
    (event,) = recorder.events
    assert event.kind == "checkpoint_failed"
    assert "No space left on device" in event.message
    assert sorted(path.name[-3:] for path in folder.folder.iterdir()) == ["008"]
    monkeypatch.undo()
    saving.save(LoopState(), 32)
    saving.finish()
    assert manager.is_saved(32)


def test_the_pause_begins_after_the_write_and_grows_with_its_cost(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    manager = CheckpointManager(tmp_path, every_s=1)

    def save_slowly(file, **arrays):
        nonlocal now
        now += 1.2

    monkeypatch.setattr(np, "savez", save_slowly)
    now = 1.0
    assert manager.should_save(0)
    manager.save(checkpoint(8))
    manager.finish()
    assert not manager.should_save(0)
    now += 0.94 * 19 * 1.2
    assert not manager.should_save(0)
    now += 0.07 * 19 * 1.2
    assert manager.should_save(0)


class Member:
    """One process of a group of two; the member receives what the chief has sent."""

    size = 2

    def __init__(self, sent: list[list[float]], *, is_chief: bool) -> None:
        self.is_chief = is_chief
        self._sent = sent

    def broadcast(self, values):
        if self.is_chief:
            self._sent.append(list(values))
        return self._sent[-1]


def test_a_late_member_restores_the_checkpoint_of_its_chief(tmp_path, model):
    plan, sent = make_plan(Schedule.from_value("0.1:8x2"), num_examples=16), []
    first = Manager(tmp_path / "checkpoints")
    TrainingCheckpoint(first, model, plan, Recorder()).save(LoopState(seconds=1.0), 8)
    first.close()

    def opened(*, is_chief: bool) -> TrainingCheckpoint:
        manager = Manager(tmp_path / "checkpoints", read_only=not is_chief)
        group = Member(sent, is_chief=is_chief)
        return TrainingCheckpoint(manager, model, plan, Recorder(), process_group=group)

    chief, member = opened(is_chief=True), opened(is_chief=False)
    assert chief.find()
    chief.save(LoopState(seconds=2.0), 16)  # Before the member looks for a checkpoint.
    assert member.find()
    assert member.restore().seconds == 1.0

    shutil.rmtree(chief.manager.latest_path().parent / "at-000000000000008")
    with pytest.raises(FeederError, match="at-000000000000008, which this process cannot read"):
        opened(is_chief=False).find()
