"""What release 0.1.0 wrote is read: a store, histories, evaluations, a model card, a checkpoint."""

import shutil
import sqlite3
import tarfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.components.feeder_trainer.workers import kill_training
from tfx_feeder.pipeline.cli.main import main
from tfx_feeder.schemas import training_history

WRITTEN = Path(__file__).parents[2] / "data" / "release_0_1"
"""Two runs of the reference pipeline below /runs-0.1.0; a training that was killed."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs, its paths as if they had been made here."""
    root = tmp_path_factory.mktemp("runs")
    with tarfile.open(WRITTEN / "root.tar.gz") as archive:
        archive.extractall(root, filter="data")
    for path in [root / "store.sql", *root.rglob("*.json")]:
        path.write_text(path.read_text().replace("/runs-0.1.0", str(root)))
    with sqlite3.connect(root / "metadata.sqlite") as database:
        database.executescript((root / "store.sql").read_text())
    return root


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["runs", "--json"], ["2026-11-28T08:00:12.566652"]),
        (["run", "latest"], ["ImageExampleGen", "FeederTrainer", "Pusher"]),
        (["models", "--json"], ["1795852781", "1795852864"]),
        (["history", "latest"], ["0.9761", "0.9054", "device-bound"]),
        (["lineage", "latest"], ["FeederTrainer", "ImageExampleGen"]),
        (["why", "latest"], ["accuracy on all examples: 0.9054; model 9: 0.8514", "1795852864"]),
        (["diff", "9", "21"], ["span-1", "span-2"]),
    ],
    ids=lambda value: value[0],
)
def test_commands_read_its_store(root: Path, words: list[str], expected: list[str]) -> None:
    done = CliRunner().invoke(main, [*words, "--store", str(root)])
    assert done.exit_code == 0, done.output
    for text in expected:
        assert text in done.output


def test_a_report_is_written_about_its_runs(root: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = CliRunner().invoke(main, ["report", "latest", "--store", str(root), "-o", str(page)])
    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert "0.9054" in text
    assert "python local_runner.py --data digits --span 2" in text


def test_its_histories_are_read(root: Path) -> None:
    folders = sorted(path.parent for path in root.rglob("history.json"))
    for history in [training_history.read(folder) for folder in folders]:
        assert [epoch.global_batch_size for epoch in history.epochs] == [32, 32, 32, 64, 64]
        assert history.strategy.startswith("sequential")


@pytest.mark.slow
def test_its_killed_training_is_resumed(forked, tmp_path: Path) -> None:
    kill_training.write_data(tmp_path / "data")
    folder = tmp_path / "training"
    shutil.copytree(WRITTEN / "checkpoints", folder / "checkpoints")
    # In a process of its own, for a deterministic training sets TensorFlow for good.
    options = {"schedule": "0.01:8x6, 0.005:32x6"}
    process = forked.Process(target=kill_training.run, args=(str(folder),), kwargs=options)
    process.start()
    process.join(300)
    assert process.exitcode == 0
    with np.load(folder / "result.npz") as result:
        assert result["resumes"] == 1
        assert list(result["examples"]) == [203] * 12
