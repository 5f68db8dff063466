"""Rendezvous files of strangers are refused before anything in them is executed."""

import os
import pickle
from pathlib import Path

import pytest

from tests.components.feeder_trainer.distribution.workers import processes as jobs
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.launcher.job_file import (
    TOKEN_VARIABLE,
    read_job,
    write_job,
)
from tfx_feeder.components.feeder_trainer.distribution.launcher.worker import WorkItem

SECRET, NO_SECRET = {TOKEN_VARIABLE: "secret"}, {TOKEN_VARIABLE: ""}
ITEM = WorkItem.from_function(jobs.fail, "")


class Evil:
    """Object that creates a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple:
        return os.mknod, (str(self.proof),)


@pytest.fixture(params=[SECRET, NO_SECRET], ids=["token", "no token"])
def environ(request: pytest.FixtureRequest) -> dict[str, str]:
    return request.param


def test_a_file_of_the_chief_is_read_and_private(tmp_path: Path, environ: dict[str, str]) -> None:
    path = tmp_path / "training.job"
    before = os.umask(0)
    try:
        write_job(path, ITEM, environ)
    finally:
        os.umask(before)

    assert read_job(path, environ) == ITEM
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["training.job"]
    assert "secret" not in repr(ITEM)
    assert ITEM.token not in repr(ITEM)
    assert read_job(tmp_path / "missing", environ) is None


def test_what_a_killed_chief_leaves_is_found_by_gc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "replace", lambda source, target: None)
    write_job(tmp_path / "training.job", ITEM, NO_SECRET)
    [left] = tmp_path.iterdir()
    assert left.name.startswith(".partial-")


def token_of(_: str, task: ClusterTask) -> str:
    return task.token


def test_the_processes_of_an_item_share_its_token() -> None:
    item = WorkItem.from_function(token_of, "")
    task = ClusterTask({"worker": ("a:1", "b:1")}, "worker", 1)

    assert item(task) == item.token != WorkItem.from_function(token_of, "").token
    assert item.token not in task.to_json()


def test_a_foreign_pickle_is_not_executed(tmp_path: Path, environ: dict[str, str]) -> None:
    path, proof = tmp_path / "training.job", tmp_path / "executed"
    evil = pickle.dumps(Evil(proof))
    write_job(path, ITEM, environ)
    header = path.read_bytes()[: -len(pickle.dumps(ITEM))]

    for content in (evil, header + evil, header, b"", header[:30]):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="TFX_FEEDER_RENDEZVOUS"):
            read_job(path, environ)

    assert not proof.exists()


@pytest.mark.parametrize(("written", "read"), [(SECRET, NO_SECRET), (NO_SECRET, SECRET)])
def test_a_token_on_one_side_only_is_named(
    tmp_path: Path, written: dict[str, str], read: dict[str, str]
) -> None:
    path = tmp_path / "training.job"
    write_job(path, ITEM, written)

    with pytest.raises(ConfigError, match=f"Set {TOKEN_VARIABLE} to the same value on all"):
        read_job(path, read)


def test_without_a_token_a_file_that_others_may_have_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "training.job"
    write_job(path, ITEM, NO_SECRET)
    path.chmod(0o620)
    with pytest.raises(ConfigError, match=f"rw--w----.*Set {TOKEN_VARIABLE}"):
        read_job(path, NO_SECRET)

    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(ConfigError, match="belongs to user"):
        read_job(path, NO_SECRET)

    write_job(path, ITEM, SECRET)
    path.chmod(0o666)  # Some file systems have one mode for all files.
    assert read_job(path, SECRET) == ITEM
