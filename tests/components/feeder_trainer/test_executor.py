"""What the executor adds to the plain modules."""

import shutil
import subprocess

import pytest
from tfx import v1 as tfx

from tfx_feeder.components.feeder_trainer.executor import checkpoint_dir, repository_of
from tfx_feeder.components.feeder_trainer.user_code import UserCode

artifacts = tfx.types.standard_artifacts


@pytest.fixture
def inputs():
    examples = artifacts.Examples()
    examples.uri = "/pipeline/Transform/transformed_examples/5"
    return {"examples": [examples]}


PROPERTIES = {"schedule": "{}", "code_fingerprint": "abc"}


def test_every_attempt_at_a_training_finds_the_same_checkpoints(inputs):
    first = checkpoint_dir("/pipeline/FeederTrainer/model/7", inputs, PROPERTIES)
    second = checkpoint_dir("/pipeline/FeederTrainer/model/19", inputs, dict(PROPERTIES))
    assert first == second
    assert first.startswith("/pipeline/FeederTrainer/checkpoints/")


def test_another_training_has_its_own(inputs):
    path = "/pipeline/FeederTrainer/model/7"
    first = checkpoint_dir(path, inputs, PROPERTIES)
    assert checkpoint_dir(path, inputs, {**PROPERTIES, "code_fingerprint": "def"}) != first
    inputs["examples"][0].uri = "/pipeline/Transform/transformed_examples/6"
    assert checkpoint_dir(path, inputs, PROPERTIES) != first


@pytest.mark.skipif(shutil.which("git") is None, reason="Git is not installed")
def test_the_commit_of_the_model_is_found_and_what_it_imports_counts(tmp_path):
    model = tmp_path / "model.py"
    model.write_text("import layers\n")
    code = UserCode(module_file=str(model))
    assert repository_of(code) == {}
    for arguments in (
        ["init", "--quiet"],
        ["add", "model.py"],
        ["-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "--quiet", "-m", "First"],
    ):
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True)
    found = repository_of(code)
    assert len(found["git_commit"]) == 40
    assert found["git_dirty"] == "no"
    (tmp_path / "layers.py").write_text("")
    assert repository_of(code) == found | {"git_dirty": "yes"}
