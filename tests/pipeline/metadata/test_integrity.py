"""Damaged artifacts count as gone, after a power failure those that were never flushed as well."""
# The client defines its messages at run time.
# pyright: reportAttributeAccessIssue=false, reportPrivateImportUsage=false

from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from tests.mlmd_store import StoreWithFiles
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.metadata import unsynced
from tfx_feeder.pipeline.metadata.integrity import (
    LOST,
    check_outputs_are_known,
    find_damaged,
    forget_damaged,
)
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.unsynced import read_marker, remove_marker, write_marker
from tfx_feeder.pipeline.runner.durable_run import durable_outputs
from tfx_feeder.schemas.file_record import PROPERTY, FileRecord


class Store(StoreWithFiles):
    """A store whose artifacts have one file each."""

    def artifact(self, type_name, *, recorded=False, content="content", **properties):
        artifact_id = super().artifact(type_name, **properties)
        (self.path(artifact_id) / "saved_model.pb").write_text(content)
        if recorded:
            self.set_property(artifact_id, PROPERTY, str(FileRecord.of(self.path(artifact_id))))
        return artifact_id

    def write(self, artifact_id, content):
        (self.path(artifact_id) / "saved_model.pb").write_text(content)

    def states(self):
        name = pb.Artifact.State.Name
        return {a.id: name(a.state) for a in self.client.get_artifacts()}

    @property
    def lineage(self):
        return Lineage(self.client)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


@pytest.fixture
def boot(tmp_path, monkeypatch):
    """Returns a function that starts the machine again."""
    file = tmp_path / "boot_id"

    def start(name):
        file.write_text(name)

    monkeypatch.setattr(unsynced, "_BOOT_ID", file)
    start("first")
    return start


def test_only_damaged_artifacts_are_marked_as_deleted(store):
    intact, empty, cut, flipped, missing = (store.artifact("Model", recorded=True) for _ in "12345")
    stock = store.artifact("Examples")
    store.write(empty, "")
    store.write(cut, "conte")
    store.write(flipped, "coNtent")
    (store.path(missing) / "saved_model.pb").unlink()
    store.path(missing).rmdir()
    found = {each.artifact.id: each.reason for each in find_damaged(store.lineage.artifacts())}
    assert found.keys() == {empty, cut, flipped, missing}
    assert found[missing] == "the files are missing"

    forgotten = forget_damaged(store.client, store.lineage.artifacts())
    # Contents are compared for the newest model only, and a volume may not be mounted.
    assert {each.artifact.id for each in forgotten} == {empty, cut}
    states = store.states()
    assert {number for number, state in states.items() if state == "DELETED"} == {empty, cut}
    assert states[intact] == states[stock] == "LIVE"
    assert forget_damaged(store.client, store.lineage.artifacts()) == []


def test_contents_of_the_newest_model_are_compared(store):
    store.artifact("Model", recorded=True)
    newest = store.artifact("Model", recorded=True)
    store.write(newest, "coNtent")
    [found] = forget_damaged(store.client, store.lineage.artifacts())
    assert found.artifact.id == newest
    assert str(found) == f"Model {newest}: the contents are not those that were written"


def test_outputs_of_executions_that_the_store_does_not_list_are_an_error(store, tmp_path):
    root = store.folder / "artifacts"
    execution = store.execution(store.run("1"), "Trainer")
    for path in (
        f"Trainer/model/{execution}",
        f"Trainer/checkpoints/{10**15}",
        f"serving/p/{execution + 1}",  # Of no node.
    ):
        (root / path).mkdir(parents=True)
    check_outputs_are_known(store.client, root, ["Trainer"])
    check_outputs_are_known(store.client, Path("gs://elsewhere"), ["Trainer"])
    replaced = Store(tmp_path / "new")
    with pytest.raises(ConfigError, match=rf"root: .*ends with 0.*Trainer/model/{execution}"):
        check_outputs_are_known(replaced.client, root, ["Trainer"])
    check_outputs_are_known(replaced.client, root, ["Pusher"])


def test_files_of_the_user_are_none_of_its_business(store, tmp_path):
    imported = store.artifact("Examples")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "saved_model.pb").write_text("")
    store.client.put_artifacts(
        [pb.Artifact(id=imported, uri=str(folder))], field_mask_paths=["uri"]
    )
    assert find_damaged(store.lineage.artifacts()) == []


def test_after_a_power_failure_what_was_not_flushed_is_gone(store, boot):
    before, root = store.artifact("Schema"), store.folder
    write_marker(root, before)
    ours, stock = store.artifact("Examples", recorded=True), store.artifact("Examples")
    assert find_damaged(store.lineage.artifacts()) == []  # A kill loses nothing.
    boot("second")
    [lost] = forget_damaged(store.client, store.lineage.artifacts())
    assert (lost.artifact.id, lost.reason) == (stock, LOST)
    assert store.states() == {before: "LIVE", ours: "LIVE", stock: "DELETED"}


def test_marker_exists_during_a_run_and_says_what_is_flushed(store, boot):
    first, root = store.artifact("Schema"), store.folder
    with durable_outputs(store.client, store.lineage, root):
        assert read_marker(root).last_synced == first
        second = store.artifact("Examples")
        assert read_marker(root).last_synced == first
        from absl import logging

        logging.set_verbosity(logging.INFO)
        logging.info("Component %s is running.", "Transform")
        assert read_marker(root).last_synced == second
    assert read_marker(root) is None


def test_next_run_forgets_what_was_lost_and_says_so(store, boot, caplog):
    store.artifact("Schema")
    run = durable_outputs(store.client, store.lineage, store.folder)
    run.__enter__()
    lost = store.artifact("Examples")
    boot("second")
    with durable_outputs(store.client, store.lineage, store.folder):
        assert store.states()[lost] == "DELETED"
    assert f"Examples {lost}: {LOST}" in caplog.text
    run.__exit__(None, None, None)


def test_marker_is_removed_although_the_run_fails(store):
    with (
        pytest.raises(ZeroDivisionError),
        durable_outputs(store.client, store.lineage, store.folder),
    ):
        _ = 1 / 0
    assert read_marker(store.folder) is None


def test_root_elsewhere_is_left_alone(store, tmp_path):
    with durable_outputs(store.client, store.lineage, Path("gs://bucket/root")):
        pass
    assert not list(tmp_path.glob("gs*"))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"boot_id": "x"}', '{"last_synced": null}'])
def test_damaged_marker_is_none(tmp_path, content):
    (tmp_path / ".unsynced.json").write_text(content)
    assert read_marker(tmp_path) is None
    remove_marker(tmp_path)
    remove_marker(tmp_path)


def test_outputs_of_a_node_are_those_of_all_its_runs(store):
    first, second, other = (store.artifact("Examples") for _ in "123")
    store.execution(store.run("a"), "Gen", outputs={"examples": first})
    store.execution(store.run("b"), "Gen", outputs={"examples": second})
    store.execution(store.run("b"), "Other", inputs={"examples": first}, outputs={"x": other})
    lineage = Lineage(store.client, "p")
    assert [a.id for a in lineage.outputs_of_node("Gen")] == [first, second]
    assert lineage.outputs_of_node("Nothing") == []
