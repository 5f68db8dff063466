"""What the executor adds to the plain modules."""

import pytest
from tfx import v1 as tfx

from tfx_feeder.components.feeder_trainer.executor import checkpoint_dir

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
