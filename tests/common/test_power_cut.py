"""What was reported as written is read after a power cut, at random moments."""

import contextlib
import json
import random
import threading
import time

import numpy as np
import pytest

from tests.power_cut import disk
from tfx_feeder.common.files import atomic_path, atomic_write, sync_filesystem
from tfx_feeder.components.feeder_trainer.training.checkpoint_files import Checkpoint
from tfx_feeder.components.feeder_trainer.training.checkpoint_manager import CheckpointManager

SEED = 20261128


@pytest.fixture
def machine():
    with disk("64M") as made:
        yield made


def _cut_during(machine, work, after_s):
    """Runs ``work(count)`` again and again until the power is cut; returns the last count."""
    done, ended = [0], threading.Event()

    def run():
        with contextlib.suppress(OSError):
            while not ended.is_set():
                work(done[0] + 1)
                done[0] += 1
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(after_s)
    machine.cut()
    ended.set()
    thread.join(30)
    machine.stop()
    machine.start()
    return done[0]


def test_disk_loses_what_was_not_flushed(machine):
    path = machine.folder / "a"
    path.write_text("content")
    machine.cut_and_start()
    assert not path.exists() or path.read_text() == ""
    path.write_text("content")
    sync_filesystem(machine.folder)
    machine.cut_and_start()
    assert path.read_text() == "content"


def test_file_is_the_last_one_that_was_written_or_the_next(machine):
    path, moments = machine.folder / "state.json", random.Random(SEED)
    for _ in range(5):
        work = lambda count: atomic_write(path, json.dumps([count] * 500))  # noqa: E731
        last = _cut_during(machine, work, moments.uniform(0.05, 0.5))
        found = json.loads(path.read_text())
        assert found in ([last] * 500, [last + 1] * 500)


def test_folder_appears_whole(machine):
    moments = random.Random(SEED)
    for attempt in range(5):
        base = machine.folder / str(attempt)
        base.mkdir()
        sync_filesystem(base)

        def work(count, base=base):
            with atomic_path(base / str(count)) as partial:
                partial.mkdir()
                for name in ("saved_model.pb", "variables.index"):
                    (partial / name).write_bytes(b"x" * 10_000)

        last = _cut_during(machine, work, moments.uniform(0.05, 0.5))
        versions = sorted(int(path.name) for path in base.iterdir() if path.name.isdecimal())
        assert versions in (list(range(1, last + 1)), list(range(1, last + 2)))
        for path in base.glob("[0-9]*/*"):
            assert path.read_bytes() == b"x" * 10_000


def test_checkpoint_is_the_last_one_that_was_written_or_the_next(machine):
    moments, folder = random.Random(SEED), machine.folder / "checkpoints"
    for attempt in range(5):
        manager = CheckpointManager(folder / str(attempt), training_id={"code": "a"})
        warnings = []

        def work(count, manager=manager):
            arrays = {"weights": np.full(100_000, count, np.float32)}
            manager.save(Checkpoint(count, arrays, {}))
            if error := manager.finish():
                raise error

        last = _cut_during(machine, work, moments.uniform(0.1, 0.8))
        resumed = CheckpointManager(folder / str(attempt), training_id={"code": "a"})
        found = resumed.restore_latest(warnings.append)
        if last:
            assert found is not None
            assert found.examples_seen in (last, last + 1)
            assert (found.arrays["weights"] == found.examples_seen).all()
        assert warnings == []
