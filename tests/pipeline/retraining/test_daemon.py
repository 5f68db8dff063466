"""Daemon: data arrives, a model is trained, compared and pushed, and the lineage says why."""

import json
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from tfx_feeder.pipeline.cli.main import main
from tfx_feeder.pipeline.datasets import digits
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import read_models
from tfx_feeder.pipeline.metadata.types import CACHED
from tfx_feeder.pipeline.retraining.state import StateFile
from tfx_feeder.pipeline.run_plan import reason_of
from tfx_feeder.schemas import training_history

pytestmark = [pytest.mark.slow, pytest.mark.long]

_COMMAND = [sys.executable, "-c", "from tfx_feeder.pipeline.cli.main import main; main()"]
_PATIENCE_S = 900
DRIFT = "drift of form: "


class Daemon:
    """``tfx-feeder retrain --watch``, and what it says."""

    def __init__(self, folder: Path, root: Path) -> None:
        # Long enough to be interrupted in the middle.
        schedule = ["--schedule", "0.01:16x24@40"]
        reasons = ["--age", "1000d", "--drift", "0.02", "--drift-feature", "form"]
        options = [
            "--poll",
            "1s",
            "--quiet-period",
            "1s",
            "--cool-down",
            "1s",
            "--window",
            "rolling:2",
        ]
        # It has to beat the first model, but is trained to its end.
        options += ["--early-stop-after", "24"]
        self._process = subprocess.Popen(
            [
                *_COMMAND,
                "retrain",
                "--watch",
                str(folder),
                "--root",
                str(root),
                *schedule,
                *reasons,
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._patience = threading.Timer(_PATIENCE_S, self._process.kill)
        self._patience.start()
        self.said: list[str] = []

    def wait_for(self, text: str) -> None:
        for line in self._process.stdout or ():
            self.said.append(line.rstrip())
            if text in line:
                return
        raise AssertionError(f"It ended without saying {text!r}: {self.said[-20:]}")

    def send(self, number: signal.Signals) -> int:
        self._process.send_signal(number)
        if number != signal.SIGKILL:
            self.wait_for("Stopped.")
        status = self._process.wait(timeout=120)
        self._patience.cancel()
        return status


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> SimpleNamespace:
    """Span 1 is trained on, for no model is live. Span 2 is measured, and drift found.

    The daemon is stopped while it trains again, and started anew.
    """
    folder, root = tmp_path_factory.mktemp("data") / "sheets", tmp_path_factory.mktemp("runs")
    sheets = digits(tmp_path_factory.mktemp("all")).folder
    shutil.copytree(sheets / "span-1", folder / "span-1")
    first = Daemon(folder, root)
    first.wait_for("Retraining done")
    first.wait_for("Waiting:")
    shutil.copytree(sheets / "span-2", folder / "span-2")
    first.wait_for("epoch 2/")
    stopped = first.send(signal.SIGTERM)
    left = StateFile(root, "sheets").pending()
    second = Daemon(folder, root)
    second.wait_for("Retraining done")
    second.wait_for("Waiting:")
    ended = second.send(signal.SIGINT)
    return SimpleNamespace(
        root=root,
        first=first.said,
        second=second.said,
        statuses=(stopped, ended),
        left=left,
        models=read_models(Lineage.open(root, "sheets"))[::-1],
    )


def test_spans_are_trained_on_one_after_another(story):
    assert [model.spans for model in story.models] == [(1,), (1, 2)]
    assert any("Retraining: no model is live" in line for line in story.first)
    assert any(f"Retraining: {DRIFT}" in line for line in story.second)


def test_the_second_model_starts_from_the_first_and_is_compared_with_it(story):
    first, second = story.models
    trainer = _trainer(story, second)
    assert [artifact.id for artifact in trainer.inputs["base_model"]] == [first.model.id]
    assert second.baseline_id == first.model.id
    assert second.blessed
    assert second.live
    [event] = [
        e for e in training_history.read(second.history.path).events if e.kind == "baseline_metric"
    ]
    assert "The base model has val_accuracy 0." in event.message


def test_the_lineage_says_why(story):
    assert reason_of(_trainer(story, story.models[-1])).startswith(DRIFT)
    result = CliRunner().invoke(main, ["why", "latest", "--store", str(story.root), "--json"])
    assert result.exit_code == 0, result.output
    trained = next(a for a in json.loads(result.stdout)["answers"] if a["about"] == "trained")
    assert DRIFT in "\n".join(trained["reasons"])


def test_a_retraining_that_was_stopped_is_remembered_and_goes_on(story):
    assert story.statuses == (0, 0)
    [reason] = story.left.plan.reasons
    assert reason.startswith(DRIFT)
    assert story.left.count == 0
    assert StateFile(story.root, "sheets").pending() is None


def test_a_span_is_measured_before_drift_is_evaluated(story):
    assert any("Computing the statistics of span 2" in line for line in story.first)
    runs = Lineage.open(story.root, "sheets").runs()[::-1]
    assert [e.node for e in runs[1].executions] == ["ImageExampleGen", "StatisticsGen"]
    states = {e.node: e.state for e in runs[2].executions}
    assert states["StatisticsGen"] == CACHED


def _trainer(story, model):
    executions = Lineage.open(story.root, "sheets").executions(model.run_id)
    return next(e for e in executions if e.node == "FeederTrainer")
