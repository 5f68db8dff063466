"""``tfx-feeder gc``: files that no artifact refers to, and old serving versions."""

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ml_metadata as mlmd
import pytest

from tests.pipeline.cli.test_gc import ALL, makers, move
from tfx_feeder.common.temporary import LOCK, temporary_folder
from tfx_feeder.pipeline.metadata.lineage import Lineage

DAY_S = 86_400.0
KEY = "0123456789abcdef"


@pytest.fixture
def runs(own_reference, tmp_path, monkeypatch):
    """Runs with the layout of the reference pipeline, and a temporary folder of their own."""
    for artifact_id, (node, key, execution) in makers(own_reference.folder).items():
        move(
            own_reference,
            artifact_id,
            own_reference.folder / "artifacts" / "p" / node / key / str(execution),
        )
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return own_reference


@pytest.fixture
def leftovers(runs, ask_json):
    """Returns a function that calls ``gc`` and returns what can go or went, by path."""

    def call(*arguments: object) -> dict[str, str]:
        answer = ask_json("gc", *arguments, store=runs.folder)
        return {
            str(Path(each["path"]).relative_to(runs.folder.parent)): each["type_name"]
            for each in answer["leftovers"]
        }

    return call


def old(path: Path, content: bytes = b"x" * 10, age_s: float = 60 * DAY_S) -> Path:
    """Writes a file of a certain age."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    then = time.time() - age_s
    for each in (path, path.parent, path.parent.parent):
        os.utime(each, (then, then))
    return path


def plant(runs) -> dict[str, str]:
    """Writes one file of each kind, and returns the kinds by path."""
    pipeline = runs.folder / "artifacts" / "p"
    old(pipeline / "Trainer" / "checkpoints" / KEY / "at-10" / "arrays.npz")
    old(pipeline / "Trainer" / "checkpoints" / f"{KEY}-2" / "at-10" / "arrays.npz")
    old(pipeline / "Trainer" / "probes" / "00ff.json")
    old(pipeline / "ImageExampleGen" / "rejected" / "7.jsonl")
    old(pipeline / ".locks" / "run.Trainer.lock")
    old(runs.folder / "logs" / "20250101-000000-1.log")
    old(runs.folder / "reports" / "2026-01-01.html")
    old(runs.folder / "reports" / "2026-01-01-and-2026-01-02.html")
    old(runs.folder / "retrain" / ".p.json.partial-77")
    old(runs.folder / "serving" / ".incoming-7" / "saved_model.pb")
    old(runs.folder.parent / "tmp" / "tfx-feeder-abcd_123" / LOCK)
    old(runs.folder.parent / "tmp" / f"tfx-feeder-index-{os.getuid()}" / "ff.npz")
    return {
        f"runs/artifacts/p/Trainer/checkpoints/{KEY}": "checkpoints",
        f"runs/artifacts/p/Trainer/checkpoints/{KEY}-2": "checkpoints",
        "runs/artifacts/p/Trainer/probes/00ff.json": "step profile",
        "runs/artifacts/p/ImageExampleGen/rejected/7.jsonl": "rejection list",
        "runs/artifacts/p/.locks/run.Trainer.lock": "lock",
        "runs/logs/20250101-000000-1.log": "log",
        "runs/reports/2026-01-01.html": "report",
        "runs/reports/2026-01-01-and-2026-01-02.html": "report",
        "runs/retrain/.p.json.partial-77": "unfinished file",
        "runs/serving/.incoming-7": "unfinished file",
        "tmp/tfx-feeder-abcd_123": "temporary folder",
        f"tmp/tfx-feeder-index-{os.getuid()}/ff.npz": "record index",
    }


def test_old_files_of_every_kind_are_listed_then_deleted(runs, leftovers, ask):
    planted = plant(runs)
    options = ("--keep-runs", 0)
    assert leftovers(*options) == planted
    assert all((runs.folder.parent / path).exists() for path in planted)
    output = ask("gc", *options, store=runs.folder).stdout
    assert "rejection list" in output
    assert "Nothing was deleted" in output
    assert leftovers(*options, "--yes") == planted
    assert not any((runs.folder.parent / path).exists() for path in planted)
    assert leftovers(*options) == {}
    assert not list(runs.folder.rglob(".deleted-*"))


def test_a_full_disk_is_freed_although_the_store_cannot_be_written(runs, ask, monkeypatch):
    planted = plant(runs)

    def full(*_: object, **__: object) -> None:
        raise mlmd.errors.InternalError("database or disk is full")

    monkeypatch.setattr(mlmd.MetadataStore, "put_artifacts", full)
    options = ("--older-than", "0.001s", "--keep-runs", 0, "--yes")
    assert "disk is full" in ask("gc", *options, store=runs.folder, status=1).stderr
    assert not any((runs.folder.parent / path).exists() for path in planted)


def test_young_files_and_the_newest_logs_and_reports_stay(runs, leftovers):
    plant(runs)
    old(runs.folder / "logs" / "20250101-000000-2.log", age_s=59 * DAY_S)
    old(runs.folder / "artifacts" / "p" / "Trainer" / "probes" / "aa.json", age_s=DAY_S)
    found = leftovers("--keep-runs", 1)
    assert "runs/logs/20250101-000000-2.log" not in found
    assert "runs/logs/20250101-000000-1.log" in found
    assert list(found.values()).count("report") == 1
    assert "runs/artifacts/p/Trainer/probes/aa.json" not in found
    assert leftovers("--older-than", "61d", "--keep-runs", 0) == {}


def test_files_of_a_running_process_stay(runs, leftovers):
    plant(runs)
    checkpoints = runs.folder / "artifacts" / "p" / "Trainer" / "checkpoints"
    (checkpoints / KEY / ".lock").touch()
    code = (
        "import sys, time; from tfx_feeder.common.temporary import temporary_folder\n"
        "from tfx_feeder.components.feeder_trainer.training.checkpoint_lock import try_lock\n"
        "from pathlib import Path\n"
        "lock = try_lock(Path(sys.argv[1]))\n"
        "with temporary_folder(sys.argv[2]) as folder: print(folder, flush=True); time.sleep(99)"
    )
    parent = runs.folder.parent / "tmp"
    words = [sys.executable, "-c", code, str(checkpoints / KEY), str(parent)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = process.stdout.readline().strip()
        used = {
            f"tmp/{Path(folder).name}": "temporary folder",
            f"runs/artifacts/p/Trainer/checkpoints/{KEY}": "checkpoints",
        }
        found = leftovers("--older-than", "0.001s", "--keep-runs", 0, "--yes")
        assert not used.keys() & found.keys()
        process.kill()
    assert leftovers("--older-than", "0.001s", "--keep-runs", 0, "--yes") == used
    assert not Path(folder).exists()


def test_outputs_of_failed_executions_and_damaged_versions_are_deleted(runs, leftovers):
    executions = Lineage.open(runs.folder).executions("2026-01-03")
    [transform] = [e for e in executions if e.node == "Transform"]
    [example_gen] = [e for e in executions if e.node == "ImageExampleGen"]
    assert transform.state == "FAILED"
    pipeline = runs.folder / "artifacts" / "p"
    old(pipeline / "Transform" / "transform_graph" / str(transform.id) / "saved_model.pb")
    old(pipeline / "Transform" / ".system" / "executor_execution" / str(transform.id) / "x")
    old(pipeline / "Evaluator" / "evaluation" / str(transform.id) / "x")  # Of another execution.
    old(pipeline / "ImageExampleGen" / "examples" / str(example_gen.id) / "x")
    old(runs.folder / "serving" / ".damaged-100" / "saved_model.pb")
    folder, kind = "runs/artifacts/p/Transform", "output of a failed execution"
    assert leftovers("--keep-runs", 0, "--yes") == {
        f"{folder}/transform_graph/{transform.id}": kind,
        f"{folder}/.system/executor_execution/{transform.id}": kind,
        "runs/serving/.damaged-100": "damaged version",
    }
    assert leftovers("--keep-runs", 0) == {}


def test_files_of_the_user_are_not_touched(runs, leftovers, tmp_path):
    kept = [
        old(runs.folder / "logs" / "notes.txt"),
        old(runs.folder / "reports" / "for-the-boss.html"),
        old(runs.folder / "artifacts" / "p" / "Trainer" / "checkpoints" / "mine" / "x"),
        old(tmp_path / "tmp" / "tfx-feeder-20260101" / "README.md"),
        old(tmp_path / "elsewhere" / KEY / "at-1"),
    ]
    link = runs.folder / "artifacts" / "p" / "Trainer" / "checkpoints" / KEY
    link.symlink_to(tmp_path / "elsewhere" / KEY)
    assert leftovers(*ALL, "--yes") == {}
    assert all(path.exists() for path in kept)
    assert link.is_symlink()


def test_a_named_pipeline_does_not_touch_what_all_share(runs, leftovers):
    plant(runs)
    shared = {"log", "report", "temporary folder", "record index"}
    kinds = set(leftovers("--keep-runs", 0, "--pipeline", "p").values())
    assert kinds
    assert not kinds & shared


def test_the_served_version_and_those_before_it_stay(runs, ask_json):
    serving = runs.folder / "serving"
    run = runs.store.run("2026-01-04")
    for version in (101, 102, 103, 104):
        properties = {
            "pushed_version": str(version),
            "pushed_destination": str(serving / str(version)),
        }
        pushed = runs.store.artifact("PushedModel", pushed=1, **properties)
        runs.store.execution(
            run, "Pusher", inputs={"model": runs.first.model}, outputs={"pushed_model": pushed}
        )
    for version in (100, 101, 102, 103, 104):
        old(serving / str(version) / "saved_model.pb")
    old(serving / "99" / "saved_model.pb")  # Of somebody else.

    def gone(*arguments: object) -> list[str]:
        answer = ask_json("gc", "--keep-runs", 0, *arguments, store=runs.folder)
        return [Path(each["path"]).name for each in answer["leftovers"]]

    assert gone() == ["100"]
    assert gone("--keep-versions", 1) == ["100", "101", "102"]
    assert gone("--keep-versions", 1, "--older-than", "61d") == []
    assert gone("--keep-versions", 1, "--yes") == ["100", "101", "102"]
    assert sorted(path.name for path in serving.iterdir()) == ["103", "104", "99"]
    assert gone("--keep-versions", 0, "--yes") == ["103"]


def test_a_file_that_changed_since_it_was_listed_stays(runs, monkeypatch, leftovers):
    plant(runs)
    path = runs.folder / "artifacts" / "p" / "Trainer" / "probes" / "00ff.json"
    from tfx_feeder.pipeline.cli import gc

    delete = gc.delete_leftovers

    def delete_later(*arguments):
        path.write_bytes(b"new")
        return delete(*arguments)

    monkeypatch.setattr(gc, "delete_leftovers", delete_later)
    assert "runs/artifacts/p/Trainer/probes/00ff.json" not in leftovers("--keep-runs", 0, "--yes")
    assert path.read_bytes() == b"new"


def test_a_deletion_that_fails_is_reported(runs, ask, monkeypatch):
    plant(runs)
    from tfx_feeder.pipeline.metadata import leftovers

    def fail(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(leftovers, "_delete", fail)
    done = ask("gc", "--keep-runs", 0, "--yes", store=runs.folder, status=1)
    assert "runs/serving/.incoming-7 was not deleted, or only in part" in done.output


def test_a_temporary_folder_is_removed_and_locked_meanwhile(tmp_path):
    with (
        temporary_folder(str(tmp_path)) as folder,
        open(Path(folder) / LOCK, "rb") as lock,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not Path(folder).exists()
