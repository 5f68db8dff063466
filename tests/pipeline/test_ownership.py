"""Locks of pipelines, between real processes."""

import errno
import fcntl
import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import filelock
import pytest

from tfx_feeder.pipeline import ownership
from tfx_feeder.pipeline.ownership import BusyError, PipelineLock

HOLDER = """
import pathlib, signal, sys
from tfx_feeder.pipeline import ownership
from tfx_feeder.pipeline.ownership import PipelineLock
lock = PipelineLock(pathlib.Path(sys.argv[1]), "p")
with lock.hold("first command"):
    lock.begin_run("run 1")
    print("held", flush=True)
    signal.pause()
"""


@contextmanager
def other_owner(root):
    command = [sys.executable, "-c", HOLDER, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_that_nobody_holds_is_free(tmp_path):
    lock = PipelineLock(tmp_path, "p")
    assert lock.busy() == ""
    assert list(tmp_path.iterdir()) == []
    with lock.hold("a"), lock.hold("b"):
        pass
    with lock.hold("a"):
        pass
    assert lock.busy() == ""


def test_the_owner_is_named(tmp_path):
    lock = PipelineLock(tmp_path, "p")
    with other_owner(tmp_path) as owner:
        expected = f"`first command` (process {owner.pid} on "
        assert lock.busy().startswith(expected)
        refused = pytest.raises(BusyError, match=r"first command.* is running the pipeline p in")
        with refused, lock.hold("second"):
            pass
        with PipelineLock(tmp_path, "q").hold("another pipeline"):
            pass
    assert lock.busy() == ""


def test_a_run_of_a_killed_owner_is_known_until_it_is_closed(tmp_path):
    with other_owner(tmp_path):
        pass
    lock = PipelineLock(tmp_path, "p")
    with lock.hold("looks only"):
        assert lock.abandoned_runs() == ["run 1"]
    with lock.hold("runs"), lock.hold("within"):
        assert lock.abandoned_runs() == ["run 1"]
        lock.begin_run("run 2")
        lock.end_run()
    with lock.hold("third"):
        assert lock.abandoned_runs() == []


def test_looking_needs_no_right_to_write_and_hinders_nobody(tmp_path, monkeypatch):
    lock = PipelineLock(tmp_path, "p")
    with other_owner(tmp_path):
        pass
    path = tmp_path / ".locks" / "p.lock"
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)  # Somebody else looks.
        assert lock.busy() == ""
    opened = []
    open_path = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, mode="r": opened.append(mode) or open_path(path, mode)
    )
    monkeypatch.setattr(filelock.FileLock, "acquire", None)
    assert lock.busy() == ""
    assert opened == ["rb"]


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"began": 1}', b'{"runs": 3}'])
def test_a_damaged_record_harms_nobody(tmp_path, content):
    lock = PipelineLock(tmp_path, "p")
    with other_owner(tmp_path):
        (tmp_path / ".locks" / "p.json").write_bytes(content)
        assert lock.busy().startswith("another process is running")
    with lock.hold("next"):
        assert lock.abandoned_runs() == []
        assert json.loads((tmp_path / ".locks" / "p.json").read_text())["command"] == "next"


def test_a_name_with_a_slash_stays_below_the_root(tmp_path):
    with PipelineLock(tmp_path / "root", "../../p").hold("a"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_on_a_full_disk_gc_may_own_a_pipeline_and_no_run_begins(tmp_path, monkeypatch):
    def write(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ownership, "atomic_write", write)
    lock = PipelineLock(tmp_path, "p")
    with lock.hold("tfx-feeder gc"), pytest.raises(OSError, match="No space left"):
        lock.begin_run("run 1")
