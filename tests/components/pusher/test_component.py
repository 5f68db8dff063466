"""The gate that a rollback closes, and versions that appear whole and only grow."""

import errno
import json
import time
from pathlib import Path
from unittest.mock import patch

import pytest
from tfx import v1 as tfx
from tfx.components.pusher import executor

from tfx_feeder.components.pusher import versions
from tfx_feeder.components.pusher.component import Executor, Pusher
from tfx_feeder.components.pusher.versions import incoming_folder
from tfx_feeder.schemas.file_record import PROPERTY, damage

_artifacts = tfx.types.standard_artifacts


@pytest.mark.parametrize(
    ("blessed", "withdrawn", "passes"), [(1, "", True), (0, "", False), (1, "it was wrong", False)]
)
def test_only_blessed_models_that_are_not_withdrawn_pass(blessed, withdrawn, passes):
    model, blessing = _artifacts.Model(), _artifacts.ModelBlessing()
    blessing.set_int_custom_property("blessed", blessed)
    if withdrawn:
        model.set_string_custom_property("withdrawn", withdrawn)
    inputs = {"model": [model], "model_blessing": [blessing]}
    assert Executor().CheckBlessing(inputs) is passes


def test_it_is_the_pusher_of_tfx_otherwise():
    assert Pusher.SPEC_CLASS is tfx.components.Pusher.SPEC_CLASS


class Push:
    """Executions of the Pusher with a model in a folder."""

    def __init__(self, folder):
        self.serving = folder / "serving"
        self._folder = folder
        self._count = 0

    def __call__(self, content="graph", *, blessed=1):
        """Pushes a model and returns the ``PushedModel`` artifact."""
        self._count += 1
        model, blessing, pushed = (
            _artifacts.Model(),
            _artifacts.ModelBlessing(),
            _artifacts.PushedModel(),
        )
        model.uri = str(self._folder / "model" / str(self._count))
        pushed.uri = str(self._folder / "pushed" / str(self._count))
        files = Path(model.uri, "Format-Serving")
        (files / "variables").mkdir(parents=True)
        Path(pushed.uri).mkdir(parents=True)
        (files / "saved_model.pb").write_text(content)
        (files / "variables" / "data").write_text("weights")
        blessing.set_int_custom_property("blessed", blessed)
        destination = {"filesystem": {"base_directory": str(self.serving)}}
        Executor().Do(
            {"model": [model], "model_blessing": [blessing]},
            {"pushed_model": [pushed]},
            {"push_destination": json.dumps(destination), "custom_config": "null"},
        )
        return pushed

    def versions(self):
        return sorted(path.name for path in self.serving.iterdir())


@pytest.fixture
def push(tmp_path):
    return Push(tmp_path)


def test_version_is_the_time_and_its_files_are_those_of_the_model(push):
    began = int(time.time())
    pushed = push()
    [version] = push.versions()
    assert began <= int(version) <= time.time()
    folder = push.serving / version
    assert (folder / "saved_model.pb").read_text() == "graph"
    assert (folder / "variables" / "data").read_text() == "weights"
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_version") == version
    assert pushed.get_string_custom_property("pushed_destination") == str(folder)
    assert (Path(pushed.uri) / "saved_model.pb").read_text() == "graph"
    assert damage(Path(pushed.uri), pushed.get_string_custom_property(PROPERTY)) == ""


def test_versions_grow_within_a_second_and_after_the_clock_was_ahead(push):
    (push.serving / "9999999999").mkdir(parents=True)
    (push.serving / "latest").mkdir()
    (push.serving / ("9" * 25)).mkdir()  # Not a version: a server reads 64 bits.
    pushed = [push().get_string_custom_property("pushed_version") for _ in range(3)]
    assert pushed == ["10000000000", "10000000001", "10000000002"]


def test_model_that_is_not_blessed_leaves_nothing(push):
    assert push(blessed=0).get_int_custom_property("pushed") == 0
    assert push.versions() == []


def test_push_that_fails_leaves_nothing_in_the_serving_folder(push, monkeypatch):
    def copy(source, target):
        Path(target).write_text("ha")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(executor.io_utils, "copy_file", copy)
    with pytest.raises(OSError, match="No space"):
        push()
    assert push.versions() == []


def test_push_that_was_killed_is_removed_by_the_next_one_and_a_running_one_is_not(push):
    killed = push.serving / ".incoming-1-0" / "1700000000"
    killed.mkdir(parents=True)
    with incoming_folder(push.serving) as running:
        push()
        names = push.versions()
        assert running.exists()
    assert (names[0], len(names)) == (running.name, 2)
    assert len(push.versions()) == 1


def test_version_of_another_pusher_is_not_replaced(push):
    (taken := push.serving / str(int(time.time()) + 1)).mkdir(parents=True)
    (taken / "saved_model.pb").write_text("theirs")
    written = push.serving / "written"
    written.mkdir()
    with patch.object(versions, "highest_version", return_value=int(taken.name) - 1):
        published = versions.publish(written, push.serving)
    assert published.name == str(int(taken.name) + 1)
    assert (taken / "saved_model.pb").read_text() == "theirs"
