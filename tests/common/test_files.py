"""Atomic and durable writes: order of the flushes, failures, links, devices and folders."""

import os
import stat
from pathlib import Path

import pytest

from tfx_feeder.common import files
from tfx_feeder.common.files import (
    atomic_path,
    atomic_write,
    remove,
    sync_filesystem,
    sync_folder,
    sync_tree,
)


@pytest.fixture
def calls(monkeypatch):
    """Returns the flushes and renames in order, each with the path as it was."""
    seen, fsync, replace = [], os.fsync, os.replace

    def record_fsync(descriptor):
        seen.append(("fsync", os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def record_replace(source, target):
        seen.append(("replace", str(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    return seen


@pytest.mark.parametrize(("content", "read"), [("häh", "häh".encode()), (b"\x00", b"\x00")])
def test_file_is_replaced_and_nothing_is_left_beside_it(tmp_path, content, read):
    path = tmp_path / "a.json"
    path.write_text("before")
    atomic_write(path, content)
    assert path.read_bytes() == read
    assert list(tmp_path.iterdir()) == [path]


def test_file_is_flushed_before_it_is_renamed_and_its_folder_afterwards(tmp_path, calls):
    atomic_write(tmp_path / "a.json", "new")
    assert [name for name, _ in calls] == ["fsync", "replace", "fsync"]
    (_, flushed), (_, target), (_, folder) = calls
    assert Path(flushed).parent == tmp_path
    assert Path(flushed).suffix == ".json"
    assert (target, folder) == (str(tmp_path / "a.json"), str(tmp_path))


def test_failed_write_keeps_the_old_content(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("before")
    with pytest.raises(UnicodeEncodeError):
        atomic_write(path, "\ud800")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as partial:
        partial.write_text(f"half{1 / 0}")
    assert (path.read_text(), list(tmp_path.iterdir())) == ("before", [path])


def test_two_writers_of_one_file_do_not_share_a_temporary_file(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_path(path) as first, atomic_path(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_mode_of_an_existing_file_is_kept(tmp_path):
    path = tmp_path / "job"
    path.write_text("secret")
    path.chmod(0o600)
    atomic_write(path, "new secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_link_stays_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "a", tmp_path / "link"
    target.write_text("before")
    link.symlink_to(target)
    atomic_write(link, "after")
    assert (link.is_symlink(), target.read_text()) == (True, "after")


@pytest.mark.parametrize("name", ["a" * 255, f"{'a' * 100}.{'b' * 154}"])
def test_name_may_be_as_long_as_the_file_system_allows(tmp_path, name):
    atomic_write(tmp_path / name, "content")
    assert (tmp_path / name).read_text() == "content"


def test_folder_appears_whole_and_flushed(tmp_path, calls):
    target = tmp_path / "1"
    with atomic_path(target) as partial:
        (partial / "variables").mkdir(parents=True)
        (partial / "saved_model.pb").write_text("graph")
        (partial / "variables" / "data").write_text("weights")
        assert not target.exists()
    names = [Path(path).name for name, path in calls if name == "fsync"]
    assert set(names[:-1]) >= {"saved_model.pb", "data", "variables"}
    assert (target / "variables" / "data").read_text() == "weights"
    assert list(tmp_path.iterdir()) == [target]


def test_file_system_is_flushed(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("content")
    sync_filesystem(tmp_path)
    sync_filesystem(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        sync_filesystem(tmp_path / "missing")
    done = []
    monkeypatch.setattr(files.ctypes, "CDLL", lambda *_, **__: object())
    monkeypatch.setattr(os, "sync", lambda: done.append("sync"))
    sync_filesystem(tmp_path)
    assert done == ["sync"]


def test_errors_of_the_disk_are_raised_and_unsupported_folders_are_not(tmp_path, monkeypatch):
    def fail(number):
        def fsync(_):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fsync)

    fail(files.errno.EINVAL)
    sync_folder(tmp_path)
    fail(files.errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        sync_folder(tmp_path)
    with pytest.raises(OSError, match="Input/output"):
        atomic_write(tmp_path / "a", "content")
    assert list(tmp_path.iterdir()) == []


def test_tree_of_a_file_is_the_file_and_removing_ignores_what_is_not_there(tmp_path):
    (tmp_path / "a").write_text("")
    sync_tree(tmp_path / "a")
    for name in ("a", "a", "missing"):
        remove(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
