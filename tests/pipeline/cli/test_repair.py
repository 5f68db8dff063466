"""``tfx-feeder repair`` and ``verify --all``: what is damaged, and what is done about it."""

import errno
import json
import os
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest
from click.testing import CliRunner

from tests.mlmd_store import StoreWithFiles
from tfx_feeder.common.hashing import hash_files
from tfx_feeder.pipeline.cli.main import main
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.schemas import model_card
from tfx_feeder.schemas.file_record import PROPERTY, FileRecord
from tfx_feeder.schemas.model_card import ModelCardDocument


class Root(StoreWithFiles):
    """A root with pushed models, as a run of the reference pipeline leaves it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.serving = folder / "serving"

    def push(self, version: str) -> dict[str, int]:
        """Writes a run that pushes a version; returns the ids of its artifacts by key."""
        run = self.run(version)
        destination = self.serving / version
        made = {"model": self.artifact("Model"), "pushed_model": self.artifact("PushedModel")}
        made["model_card"] = self.artifact("tfx_feeder.ModelCard", pushed=1)
        for name, value in (
            ("pushed", 1),
            ("pushed_version", version),
            ("pushed_destination", str(destination)),
        ):
            self.set_property(made["pushed_model"], name, value)
        serving = self.path(made["model"]) / "Format-Serving"
        for folder in (serving, self.path(made["pushed_model"]), destination):
            (folder / "variables").mkdir(parents=True)
            (folder / "saved_model.pb").write_text(f"graph {version}")
            (folder / "variables" / "variables.index").write_text("weights")
        card = ModelCardDocument(
            pushed_version=version,
            destination=str(destination),
            pipeline="p",
            run_id=version,
            created_at="2026-01-01T00:00:00+00:00",
            reason="",
            intended_slices=(),
            lineage=(),
            evaluation=None,
            training=None,
            files=hash_files(destination),
        )
        for folder in (destination, self.path(made["model_card"])):
            model_card.write(card, folder)
        for artifact in made.values():
            self.set_property(artifact, PROPERTY, str(FileRecord.of(self.path(artifact))))
        self.execution(run, "Trainer", outputs={"model": made["model"]})
        pusher = {"pushed_model": made["pushed_model"]}
        self.execution(run, "Pusher", inputs={"model": made["model"]}, outputs=pusher)
        self.execution(
            run,
            "ModelCard",
            inputs={**pusher, "model": made["model"]},
            outputs={"model_card": made["model_card"]},
        )
        return made

    def call(self, *arguments: str, status: int = 0) -> str:
        """Runs a command on the store."""
        done = CliRunner().invoke(main, [*arguments, "--store", str(self.folder)])
        assert done.exit_code == status, done.output
        return done.output

    def repaired(self) -> dict[str, str]:
        """Repairs the root; returns remedies by subject."""
        assert self.call("verify", "--all", status=1)
        before = _files(self.folder)
        self.call("repair")
        assert _files(self.folder) == before, "a dry run changes nothing"
        found = json.loads(self.call("repair", "--yes", "--json"))["findings"]
        self.call("verify", "--all")
        return {finding["subject"]: finding["remedy"] for finding in found}

    def states(self) -> dict[int, str]:
        return {artifact.id: artifact.state for artifact in Lineage.open(self.folder).artifacts()}


def _files(folder: Path) -> dict[str, str]:
    return {name: h for name, h in hash_files(folder).items() if "metadata.sqlite" not in name}


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "runs")


def test_intact_root_has_nothing_to_repair(root):
    root.push("100")
    root.push("200")
    assert "all files are as they were written" in root.call("verify", "--all")
    assert "Nothing is damaged." in root.call("repair", "--yes")
    assert json.loads(root.call("verify", "--all", "--json")) == []


def test_damaged_artifacts_are_forgotten_and_the_rest_is_kept(root):
    first, second = root.push("100"), root.push("200")
    (root.path(second["model"]) / "Format-Serving" / "saved_model.pb").write_text("")
    (root.path(first["model_card"]) / "model_card.json").write_text("")
    assert root.repaired() == {
        f"Model {second['model']}": "forget",
        f"tfx_feeder.ModelCard {first['model_card']}": "forget",
    }
    gone = {number for number, state in root.states().items() if state == "DELETED"}
    assert gone == {second["model"], first["model_card"]}
    assert sorted(path.name for path in root.serving.iterdir()) == ["100", "200"]


def test_served_version_is_restored_from_the_model_with_its_card(root):
    root.push("100")
    pushed = root.push("200")
    intact = hash_files(root.serving / "200")
    for path in (root.serving / "200").rglob("*"):
        if path.is_file():
            path.write_text("")
    shutil.rmtree(root.path(pushed["pushed_model"]))  # The copy is gone, the model is not.
    assert root.repaired()[f"Version 200 in {root.serving}"] == "restore"
    assert hash_files(root.serving / "200") == intact
    assert (root.serving / ".damaged-200").is_dir()


def test_damaged_version_stays_until_its_copy_is_there(root, monkeypatch):
    root.push("200")
    (root.serving / "200" / "saved_model.pb").write_bytes(b"")
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patched:
        patched.setattr("shutil.copytree", Mock(side_effect=full))
        assert "No space left" in root.call("repair", "--yes", status=1)
    assert [path.name for path in root.serving.iterdir()] == ["200"]
    assert root.repaired() == {f"Version 200 in {root.serving}": "restore"}


def test_live_version_that_is_gone_is_restored_and_older_ones_may_be_gone(root):
    root.push("100")
    root.push("200")
    intact = hash_files(root.serving / "200")
    for version in ("100", "200"):
        shutil.rmtree(root.serving / version)
    assert root.repaired() == {f"Version 200 in {root.serving}": "restore"}
    assert [path.name for path in root.serving.iterdir()] == ["200"]
    assert hash_files(root.serving / "200") == intact


def test_served_version_without_an_intact_copy_is_set_aside(root):
    root.push("100")
    pushed = root.push("200")
    for folder in (
        root.serving / "200",
        root.path(pushed["pushed_model"]),
        root.path(pushed["model"]) / "Format-Serving",
    ):
        (folder / "saved_model.pb").write_text("")
    remedies = root.repaired()
    assert remedies[f"Version 200 in {root.serving}"] == "set aside"
    assert sorted(path.name for path in root.serving.iterdir()) == [".damaged-200", "100"]
    live = [row["version"]["live"] for row in json.loads(root.call("models", "--json"))]
    assert live == [False, True]
    assert "Version 200 is not in" in root.call("why", "200")


def test_version_in_a_folder_that_only_the_server_may_read_is_live(root, monkeypatch):
    root.push("100")
    root.push("200")
    stat = Path.stat

    def guarded(path, **options):
        if path.parent == root.serving:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", guarded)
    live = [row["version"]["live"] for row in json.loads(root.call("models", "--json"))]
    assert live == [True, False]


def test_of_a_copy_the_files_of_the_original_are_not_repaired(root):
    root.push("100")
    (root.serving / "300" / "variables").mkdir(parents=True)
    copy = shutil.copytree(root.folder, root.folder.with_name("copy"))
    before = _files(root.folder)
    done = CliRunner().invoke(main, ["repair", "--yes", "--store", str(copy)])
    assert "Version 300 was not repaired: it is beside another store" in done.stderr
    assert (done.exit_code, _files(root.folder)) == (1, before)
    assert root.repaired() == {"Version 300": "set aside"}


def test_halves_of_pushes_are_removed_or_set_aside(root):
    root.push("100")
    (root.serving / ".incoming-1-0" / "200").mkdir(parents=True)
    (root.serving / "300" / "variables").mkdir(parents=True)
    (root.serving / "latest").mkdir()
    assert root.repaired() == {
        str(root.serving / ".incoming-1-0"): "remove",
        "Version 300": "set aside",
    }
    names = sorted(path.name for path in root.serving.iterdir())
    assert names == [".damaged-300", "100", "latest"]


def test_damage_is_named_before_anything_is_changed(root):
    pushed = root.push("100")
    (root.serving / "100" / "saved_model.pb").write_text("other")
    output = root.call("repair")
    assert "changed: saved_model.pb" in output
    assert "With --yes: copy the files from the model that was pushed" in output
    (root.path(pushed["model"]) / "Format-Serving" / "saved_model.pb").write_text("Graph 100")
    output = root.call("verify", "--all", status=1)
    assert "the contents are not those that were written" in output
    assert "tfx-feeder repair" in output


@pytest.mark.parametrize("arguments", [[], ["--all", "."]])
def test_verify_takes_a_folder_or_all(root, arguments):
    root.push("100")
    assert "Name either a folder or --all" in root.call("verify", *arguments, status=2)
