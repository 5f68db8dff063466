"""A folder of the user's, with what such folders hold."""

import json

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes, a corrupt image, and a text file."""
    folder = tmp_path_factory.mktemp("data") / "zeros-and-ones"
    images, labels = load_digits(n_class=2, return_X_y=True)
    for number, (image, label) in enumerate(zip(images[:240], labels[:240], strict=True)):
        target = folder / ("zero", "one")[label] / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        pixels = (image.reshape(8, 8, 1) * 15).astype(np.uint8)
        target.write_bytes(tf.io.encode_png(pixels).numpy())
    whole = (folder / "one" / "1.png").read_bytes()
    (folder / "one" / "broken.png").write_bytes(whole[: len(whole) // 2])
    (folder / "one" / "notes.txt").write_text("taken in autumn")
    return folder


@pytest.fixture(scope="module")
def finished(folder, local_runner, tmp_path_factory):
    # Keras 2 in the environment, as in TFX's own image, must not matter.
    return local_runner(
        tmp_path_factory.mktemp("runs"),
        "--data",
        str(folder),
        "--schedule",
        "0.01:16x3 @20",
        env={"TF_USE_LEGACY_KERAS": "1"},
    )


def test_classes_and_schema_are_inferred_and_the_model_pushed(finished):
    assert finished.status == 0, finished.text
    assert "zeros-and-ones: 2 classes" in finished.text
    assert finished.states()["SchemaGen"] == "complete"
    assert len(finished.versions) == 1


def test_corrupt_image_is_left_out_and_reported(finished):
    assert "rejected 2" in finished.text
    assert "corrupt_image 1" in finished.text
    assert "not_an_image 1" in finished.text
    (listed,) = finished.root.glob("artifacts/*/ImageExampleGen/examples/*/rejected.jsonl")
    rejected = [json.loads(line) for line in listed.read_text().splitlines()]
    assert sorted(r["path"].rpartition("/")[2] for r in rejected) == ["broken.png", "notes.txt"]
    assert str(listed) in finished.text


def test_component_that_fails_is_named_with_its_cause(folder, local_runner, finished):
    failed = local_runner(finished.root, "--data", str(folder), "--schedule", "0.01:5000x1")
    assert failed.status == 1
    assert "Failed in FeederTrainer: schedule phase 1" in failed.text
    assert "Received: 5000" in failed.text
    assert "Traceback" not in failed.text
    assert "Traceback" in failed.log()
