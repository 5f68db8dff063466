"""Commands ``tfx-feeder strategy``: the list, and predictions for a real training."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from sklearn.datasets import load_digits

from tfx_feeder.components.feeder_trainer.distribution.strategy_info import STRATEGIES
from tfx_feeder.pipeline.cli.strategy import strategy

SCHEMA = """
feature { name: "image" type: BYTES presence { min_fraction: 1.0 } shape {} }
feature { name: "label" type: INT presence { min_fraction: 1.0 } shape {} }
"""


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(strategy, arguments, env={"COLUMNS": "100"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Transformed examples of 90 digits, with the transform graph next to them."""
    transform = tmp_path_factory.mktemp("Transform")
    digits = load_digits()
    pixels = np.kron(digits.images[:90, :, :, None] * 16, np.ones((4, 4, 3)))
    images = np.minimum(pixels, 255).astype(np.uint8)
    for split, numbers in (("train", range(60)), ("eval", range(60, 90))):
        folder = transform / "transformed_examples" / "7" / f"Split-{split}"
        folder.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / "part-0.gz"), "GZIP") as writer:
            for number in numbers:
                image = tf.train.BytesList(value=[images[number].tobytes()])
                label = tf.train.Int64List(value=[digits.target[number]])
                features = {
                    "image": tf.train.Feature(bytes_list=image),
                    "label": tf.train.Feature(int64_list=label),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())
    metadata = transform / "transform_graph" / "7" / "transformed_metadata"
    metadata.mkdir(parents=True)
    (metadata / "schema.pbtxt").write_text(SCHEMA)
    return transform / "transformed_examples" / "7"


def test_list_shows_every_strategy() -> None:
    code, output = run("list")
    rows = json.loads(run("list", "--json")[1])

    assert code == 0
    assert all(name in output for name in STRATEGIES)
    assert [row["name"] for row in rows] == list(STRATEGIES)


def test_list_is_a_light_command() -> None:
    script = (
        "import sys; from tfx_feeder.pipeline.cli.main import main\n"
        "main(['strategy', 'list'], standalone_mode=False)\n"
        "assert not {'tensorflow', 'keras', 'tfx'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_probe_predicts_a_real_schedule_without_training(examples: Path, tmp_path: Path) -> None:
    options = ["--examples", str(examples), "--schedule", "0.01:8x1, 0.01:16x1 @10"]
    options += ["--root", str(tmp_path), "--device-cost", "CPU=3.6"]

    code, output = run("probe", *options, "--time-to-train", "1h", "--json")
    again, table = run("probe", *options, "--time-to-train", "1s")

    assert (code, again) == (0, 0)
    shown = json.loads(output)
    assert (shown["chosen"], shown["warning"]) == ("sequential", "")
    (row,) = shown["candidates"]
    assert [step["batch_size"] for step in row["probe"]["steps"]] == [8, 16]
    assert 0 < row["low_s"] <= row["predicted_s"] <= row["high_s"] < 3600
    assert row["cost"] == pytest.approx(row["predicted_s"] * 3.6 / 3600)
    table = " ".join(table.split())
    assert "(profiled by an earlier run)" in table
    assert "Warning: No strategy meets the budget." in table
    assert "may miss the time to train of 1s by" in table
    written = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert not {name for name in written if name.endswith((".keras", ".sqlite", "history.json"))}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--time-to-train", "soon"), "'1h30m'"),
        (("--device-cost", "GPU"), "GPU=2.5"),
        (("--candidate", "quantum"), "quantum"),
        (("--cluster", "remote"), "'local:2'"),
        (("--schedule", "0.01;32x1"), "^"),
        ((), "Run local_runner.py once"),
    ],
)
def test_errors_are_reported_without_a_traceback(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, output = run("probe", "--root", str(tmp_path), *arguments)

    assert code in (1, 2)
    assert message in output
    assert "Traceback" not in output


def test_examples_without_their_graph_are_rejected(examples: Path, tmp_path: Path) -> None:
    moved = tmp_path / "examples"
    moved.symlink_to(examples)

    code, output = run("probe", "--root", str(tmp_path), "--examples", str(moved))

    assert code == 2
    assert "--transform-graph" in output
