"""What the executor adds to the plain modules."""

import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest
from tfx import v1 as tfx
from tfx.types import artifact_utils

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.mounts import VARIABLE
from tfx_feeder.components import FeederTrainer
from tfx_feeder.components.feeder_trainer.executor import (
    Executor,
    checkpoint_dir,
    repository_of,
    tuned_value,
)
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image, to_json
from tfx_feeder.components.feeder_trainer.model.user_module import UserCode
from tfx_feeder.components.feeder_trainer.training.options import TrainingOptions
from tfx_feeder.schemas import training_history

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


def test_a_training_that_release_0_1_0_began_finds_its_checkpoints():
    properties = {
        "model_fn": "m.f",
        "code_fingerprint": "abc",
        "schedule": '{"phases": [{"learning_rate": 0.01, "batch_size": 32, "length": "2ep"}], '
        '"steps_per_epoch": null}',
        "strategy": "{}",
        "warm_start": "strict",
        "custom_config": "{}",
        "loop": TrainingOptions().to_json(),
        "feed": to_json(FeedOptions()),
    }
    folder = checkpoint_dir("/r/FeederTrainer/model/7", {}, properties)
    assert folder == "/r/FeederTrainer/checkpoints/ac3817fcce630d74"


@pytest.mark.skipif(shutil.which("git") is None, reason="Git is not installed")
def test_the_commit_of_the_model_is_found_and_what_it_imports_counts(tmp_path):
    model = tmp_path / "model.py"
    model.write_text("import layers\n")
    code = UserCode(module_file=str(model))
    # A run has a UserCode of its own, which keeps the sources it began with.
    assert repository_of(dataclasses.replace(code)) == {}
    for arguments in (
        ["init", "--quiet"],
        ["add", "model.py"],
        ["-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "--quiet", "-m", "First"],
    ):
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True)
    found = repository_of(dataclasses.replace(code))
    assert len(found["git_commit"]) == 40
    assert found["git_dirty"] == "no"
    (tmp_path / "layers.py").write_text("")
    assert repository_of(dataclasses.replace(code)) == found | {"git_dirty": "yes"}


@pytest.mark.parametrize(
    "hyperparameters", [{"values": {"rate": 0.3}, "space": []}, {"rate": 0.3, "layers": 2}]
)
def test_a_tuned_value_is_found(hyperparameters):
    assert tuned_value(hyperparameters, "rate") == 0.3


@pytest.mark.parametrize("hyperparameters", [None, {}, {"values": {"layers": 2}, "space": []}])
def test_a_value_that_was_not_tuned_is_named(hyperparameters):
    with pytest.raises(ConfigError, match=r"tuned_learning_rate: .*Received: 'rate'"):
        tuned_value(hyperparameters, "rate")


SCHEMA = """
feature { name: "image" type: BYTES presence { min_fraction: 1 } shape { dim { size: 1 } } }
feature { name: "label" type: INT presence { min_fraction: 1 } shape { dim { size: 1 } } }
"""
MODEL = """
import keras

def model_fn(context):
    inputs = keras.Input((4, 4, 3), name="image")
    model = keras.Model(inputs, keras.layers.Dense(40)(keras.layers.Flatten()(inputs)))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model
"""


@pytest.mark.slow
def test_artifacts_on_a_mounted_store_are_read_and_written(tmp_path, monkeypatch, write_examples):
    monkeypatch.setenv(VARIABLE, f"gs://={tmp_path}/")
    (tmp_path / "schema").mkdir()
    (tmp_path / "schema" / "schema.pbtxt").write_text(SCHEMA)
    (tmp_path / "model.py").write_text(MODEL)
    for split in ("train", "eval"):
        write_examples(range(40), folder=f"examples/Split-{split}")
    channels = {
        "examples": tfx.dsl.Channel(type=artifacts.Examples),
        "schema": tfx.dsl.Channel(type=artifacts.Schema),
    }
    declared = FeederTrainer(
        **channels,
        schedule="0.01:8x1",
        module_file=str(tmp_path / "model.py"),
        feed=FeedOptions(images={"image": Image(4, 4, 3)}),
        training=TrainingOptions(checkpoint_every_examples=8),
    )
    checkpoints = []
    write = training_history.write

    def write_history(*arguments):
        checkpoints.extend(tmp_path.parent.glob("checkpoints/*/at-*"))
        write(*arguments)

    monkeypatch.setattr(training_history, "write", write_history)
    inputs, outputs = (
        {key: [channel.type()] for key, channel in named.items()}
        for named in (channels, declared.outputs)
    )
    for key, (artifact,) in {**inputs, **outputs}.items():
        artifact.uri = f"gs://{key}"
    inputs["examples"][0].split_names = artifact_utils.encode_split_names(["train", "eval"])
    Executor().Do(inputs, outputs, dict(declared.exec_properties))
    history = training_history.read(tmp_path / "training_history")
    assert history.summary()
    assert checkpoints  # Kept until the outputs are complete.
    assert not any(path.exists() for path in checkpoints)
    assert (tmp_path / "model" / "Format-Serving" / "saved_model.pb").exists()
    assert list(tmp_path.glob("model_run/**/events.*"))
    assert outputs["model"][0].uri == "gs://model"
    assert not Path("gs:").exists()
