"""Rollbacks on stores written by TFX, with pipelines that push without training."""

import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from click.testing import CliRunner, Result

from tfx_feeder.common.errors import ConfigError, DataError
from tfx_feeder.common.hashing import hash_files
from tfx_feeder.pipeline.cli.main import main
from tfx_feeder.pipeline.deployment.rollback import plan
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import ModelVersion, read_models
from tfx_feeder.pipeline.metadata.store import create_store
from tfx_feeder.pipeline.ownership import PipelineLock
from tfx_feeder.schemas import model_card

pytestmark = pytest.mark.slow

REASON = "zeros look <wrong>"
KILLED_AT_THE_CARD = """
import os, signal
from tfx_feeder.components.model_card.executor import Executor
from tfx_feeder.pipeline.cli.main import main
Executor.Do = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main()
"""
TERMINATED_BEFORE_THE_PUSH = """
import os, signal, time
from tfx_feeder.components.pusher import component
from tfx_feeder.pipeline.cli.main import main
component.incoming_folder = lambda *_: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(60))
main()
"""
CARD_EXECUTOR = "tfx_feeder.components.model_card.executor.Executor.Do"


class Served:
    """A pipeline with pushed models, and commands on its store."""

    def __init__(self, root: Path, **options: bool) -> None:
        self.root = root
        self._options = options

    def run(self, span: int, **options: int) -> str:
        """Runs the pipeline; returns the newest version."""
        import small_pipeline

        self.execute(small_pipeline.create(self.root, span, **self._options, **options))
        return self.versions[-1]

    def execute(self, pipeline) -> None:
        from tfx_feeder.pipeline.runner.local import run_locally

        time.sleep(1)  # The Pusher of TFX tells versions apart by the second.
        lock = PipelineLock(self.root, pipeline.pipeline_info.pipeline_name)
        with lock.hold("test"):
            run_locally(pipeline, create_store(self.root / "metadata.sqlite"), lock)

    def roll_back(self, version: str, *options: str) -> Result:
        """Calls ``tfx-feeder rollback``."""
        arguments = ["rollback", version, "--reason", REASON, "--store", str(self.root), *options]
        return CliRunner().invoke(main, arguments)

    def rolled_back(self, version: str) -> dict[str, Any]:
        """Rolls back and returns the JSON output."""
        done = self.roll_back(version, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def plan(self, version: str):
        return plan(self.lineage, version, REASON)

    @property
    def lineage(self) -> Lineage:
        return Lineage.open(self.root)

    @property
    def versions(self) -> list[str]:
        return sorted(path.name for path in (self.root / "serving").iterdir())

    def models(self) -> dict[str, ModelVersion]:
        """Returns the models by their first version."""
        return {m.pushes[0].version: m for m in read_models(self.lineage) if m.pushes}

    def model_folder(self, version: str) -> Path:
        return self.models()[version].model.path / "Format-Serving"


@pytest.fixture(scope="module", autouse=True)
def _pipeline_is_importable():
    folder = str(Path(__file__).parent / "small")
    sys.path.insert(0, folder)
    yield
    sys.path.remove(folder)


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory):
    """Two pushed versions, for read-only tests."""
    served = Served(tmp_path_factory.mktemp("served"))
    served.run(1)
    served.run(2)
    return served


@pytest.fixture
def served(tmp_path):
    """A pipeline of this suite without pushed models."""
    return Served(tmp_path)


def test_an_earlier_model_becomes_the_highest_version_and_later_ones_are_withdrawn(served):
    first, second, third = (served.run(span) for span in (1, 2, 3))
    done = served.rolled_back(first)

    assert served.versions == [first, second, third, done["version"]]
    models = served.models()
    assert [push.version for push in models[first].pushes] == [first, done["version"]]
    assert [m.live for m in models.values()] == [False, False, True]
    mark = f"rolled back to version {first}: {REASON}"
    assert {v: m.withdrawn for v, m in models.items()} == {first: "", second: mark, third: mark}
    assert done["withdrawn"] == [models[v].model.id for v in (third, second)]
    served_now = served.root / "serving" / done["version"]
    files = hash_files(served_now, exclude=[model_card.FILE_NAME])
    assert files == hash_files(served.model_folder(first))


def test_the_new_version_has_a_card_with_the_reason_and_the_old_origin(served):
    first, second = served.run(1), served.run(2)
    done = served.rolled_back(first)

    before = model_card.read(served.root / "serving" / first)
    card = model_card.read(served.root / "serving" / done["version"])
    assert card.reason == f"rolled back from version {second}: {REASON}"
    assert card.files == before.files
    assert card.spans == (1,)
    assert card.intended_slices == ("form",)
    assert card.origin("model") == before.origin("model")
    assert card.run_id == done["run_id"]
    # The record in ML Metadata says it too.
    (execution,) = (e for e in served.lineage.executions(done["run_id"]) if e.node == "ModelCard")
    assert execution.properties["reason"] == card.reason


def test_going_forward_again_lifts_the_mark(served):
    first, second = served.run(1), served.run(2)
    said = served.roll_back(first).stdout.splitlines()
    newest = served.versions[-1]
    where = served.root / "serving" / newest
    assert said == [
        f"Version {first} is served again, as {newest} in {where}",
        f"Withdrawn: model {served.models()[second].model.id}, version {second}",
    ]
    done = served.rolled_back(second)

    models = served.models()
    assert (models[second].live, models[second].withdrawn) == (True, "")
    assert (models[first].live, models[first].withdrawn) == (False, "")
    assert done["withdrawn"] == []


def test_a_pipeline_of_tfx_alone_can_be_rolled_back(tmp_path):
    served = Served(tmp_path, ours=False)
    first, second = served.run(1), served.run(2)
    done = served.rolled_back(first)

    card = model_card.read(tmp_path / "serving" / done["version"])
    assert {row.role for row in card.lineage} == {
        "examples",
        "model",
        "model_blessing",
        "pushed_model",
    }
    assert card.spans == (1,)
    assert served.models()[second].withdrawn


def test_the_gate_holds_where_the_pipeline_has_none(tmp_path):
    served = Served(tmp_path, ours=False, gated=False)
    bad = served.run(1, blessed=0)
    good = served.run(2)
    served.run(3)
    with pytest.raises(ConfigError, match="version: expected one whose model is blessed"):
        served.plan(bad)
    assert served.rolled_back(good)["earlier_version"] == good


def test_a_push_that_fails_leaves_the_marks_as_they_were(served):
    first, second = served.run(1), served.run(2)
    served.roll_back(first)
    before = {version: m.withdrawn for version, m in served.models().items()}
    shutil.rmtree(served.root / "serving")
    (served.root / "serving").write_text("in the way")
    done = served.roll_back(second)
    assert done.exit_code == 1
    said, where = done.stderr.splitlines()
    assert said.startswith("Error: ")
    log = Path(where.removeprefix("Details: "))
    assert log.parent == served.root / "logs"
    assert "The rollback failed." in log.read_text()
    assert {version: m.withdrawn for version, m in served.models().items()} == before
    assert any(before.values())


def test_a_rollback_that_is_killed_before_its_card_is_completed_by_the_next(served):
    first, second = served.run(1), served.run(2)
    words = ("rollback", first, "--reason", REASON, "--store", str(served.root))
    killed = subprocess.run([sys.executable, "-c", KILLED_AT_THE_CARD, *words], check=False)
    assert killed.returncode == -signal.SIGKILL
    third = served.versions[-1]
    assert third not in (first, second)
    assert not (served.root / "serving" / third / model_card.FILE_NAME).exists()
    done = served.rolled_back(first)
    assert done["version"] == served.versions[-1] == third
    card = model_card.read(served.root / "serving" / third)
    assert card.reason == f"rolled back from version {second}: {REASON}"
    assert card.files == hash_files(served.root / "serving" / third, [model_card.FILE_NAME])
    states = {e.state for run in served.lineage.runs() for e in run.executions}
    assert "RUNNING" not in states
    assert served.models()[second].withdrawn
    assert "not live already" in served.roll_back(first).stderr


def test_a_rollback_that_is_terminated_before_it_pushes_withdraws_nothing(served):
    first, second = served.run(1), served.run(2)
    words = ("rollback", first, "--reason", REASON, "--store", str(served.root))
    program = [sys.executable, "-c", TERMINATED_BEFORE_THE_PUSH, *words]
    ended = subprocess.run(program, check=False, capture_output=True, text=True)
    assert ended.returncode == 130
    assert ended.stderr.endswith("\nInterrupted. Run the same command again.\n")
    assert served.versions == [first, second]
    assert served.models()[second].live
    assert not served.models()[second].withdrawn
    states = {e.state for run in served.lineage.runs() for e in run.executions}
    assert "RUNNING" not in states
    assert served.rolled_back(first)["version"] == served.versions[-1]


@pytest.mark.parametrize(
    ("error", "status"), [(OSError(28, "No space left on device"), 1), (KeyboardInterrupt(), 130)]
)
def test_a_rollback_that_fails_before_its_card_is_completed_by_the_next(
    served, monkeypatch, error, status
):
    first, second = served.run(1), served.run(2)
    with monkeypatch.context() as patched:
        patched.setattr(CARD_EXECUTOR, Mock(side_effect=error))
        assert served.roll_back(first).exit_code == status
    third = served.versions[-1]
    # The first model is served again, so no run may start from the second.
    assert served.models()[first].live
    assert served.models()[second].withdrawn
    assert served.rolled_back(first)["version"] == served.versions[-1] == third
    assert model_card.read(served.root / "serving" / third).reason.endswith(REASON)
    assert "not live already" in served.roll_back(first).stderr


def test_a_model_that_was_pushed_while_the_rollback_waited_is_withdrawn_as_well(
    served, monkeypatch
):
    first, second = served.run(1), served.run(2)
    hold = PipelineLock.hold

    @contextmanager
    def hold_later(lock, command):
        if command == "tfx-feeder rollback":
            served.run(3)
        with hold(lock, command):
            yield

    monkeypatch.setattr(PipelineLock, "hold", hold_later)
    served.rolled_back(first)
    third = served.versions[2]
    assert {v: bool(m.withdrawn) for v, m in served.models().items()} == {
        first: False,
        second: True,
        third: True,
    }


def test_a_version_from_the_future_in_the_serving_folder_is_outdone(served):
    first = served.run(1)
    served.run(2)
    (served.root / "serving" / "99999999999").mkdir()
    assert served.rolled_back(first)["version"] == "100000000000"


def test_a_version_from_the_future_that_was_removed_cannot_be_outdone(served):
    (served.root / "serving" / "99999999998").mkdir(parents=True)
    first = served.run(1)
    served.run(2)
    shutil.rmtree(served.root / "serving")
    done = served.roll_back(first)
    assert done.exit_code == 1
    assert "version 100000000000, and the time" in done.stderr
    assert not any(m.withdrawn for m in served.models().values())


def test_unknown_versions_live_ones_and_missing_reasons_are_refused(unchanged):
    first, second = unchanged.versions
    with pytest.raises(ConfigError, match=f"version: expected one of {second}, {first}. Received"):
        unchanged.plan("7")
    with pytest.raises(ConfigError, match="whose model is not live already"):
        unchanged.plan(second)
    with pytest.raises(ConfigError, match="reason: expected a short text"):
        plan(unchanged.lineage, first, "  ")


def test_changed_or_missing_files_are_rejected_by_name(served):
    first = served.run(1)
    served.run(2)
    (served.model_folder(first) / "variables" / "data").write_text("other weights")
    with pytest.raises(DataError, match=f"version {first}: changed: variables/data"):
        served.plan(first)
    shutil.rmtree(served.model_folder(first))
    with pytest.raises(DataError, match=r"The files of Model \d+ are missing"):
        served.plan(first)


def test_without_a_card_the_copy_of_the_pusher_is_compared(tmp_path):
    served = Served(tmp_path, ours=False)
    first = served.run(1)
    served.run(2)
    (served.model_folder(first) / "saved_model.pb").write_text("other graph")
    with pytest.raises(DataError, match=r"changed: saved_model\.pb"):
        served.plan(first)
    shutil.rmtree(served.models()[first].pushes[0].artifact.path)
    with pytest.raises(DataError, match="There is no record of the files of version"):
        served.plan(first)


def test_versions_of_another_pusher_are_rejected(served):
    import small_pipeline

    served.execute(small_pipeline.create_elsewhere(served.root))
    served.execute(small_pipeline.create_elsewhere(served.root))
    first = min(m.pushes[0].artifact.id for m in read_models(served.lineage))
    store = create_store(served.root / "metadata.sqlite")
    (pushed,) = store.get_artifacts_by_id([first])
    pushed.custom_properties["pushed_version"].string_value = "first"
    store.put_artifacts([pushed])
    with pytest.raises(ConfigError, match="one that the TFX Pusher pushed to a folder"):
        served.plan("first")


def test_a_root_has_one_serving_folder_whatever_path_leads_to_it(tmp_path):
    (tmp_path / "moved").mkdir()
    (tmp_path / "root").symlink_to("moved")
    before, after = Served(tmp_path / "root"), Served(tmp_path / "moved")
    first, second, third = before.run(1), before.run(2), after.run(3)
    live = {version: model.live for version, model in after.models().items()}
    assert live == {first: False, second: False, third: True}

    (tmp_path / "moved" / "serving" / second / "saved_model.pb").unlink()
    repaired = CliRunner().invoke(main, ["repair", "--yes", "--store", str(after.root)])
    assert repaired.exit_code == 0, repaired.output
    assert (tmp_path / "moved" / "serving" / second / "saved_model.pb").exists()

    done = after.rolled_back(first)
    models = after.models()
    assert done["withdrawn"] == [models[version].model.id for version in (third, second)]
    assert models[first].live


def test_a_copied_store_does_not_change_the_original_unasked(served, tmp_path_factory):
    first, second = served.run(1), served.run(2)
    copy = tmp_path_factory.mktemp("copy")
    shutil.copy(served.root / "metadata.sqlite", copy)
    arguments = ["rollback", first, "--reason", REASON, "--store", str(copy)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert f"expected the store beside the serving folder {served.root / 'serving'}" in done.stderr
    assert served.versions == [first, second]
    done = CliRunner().invoke(main, [*arguments, "--yes"])
    assert done.exit_code == 0, done.output
    assert len(served.versions) == 3
