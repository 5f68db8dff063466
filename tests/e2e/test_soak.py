"""Commands killed at random moments end, when they are repeated, as if nothing had happened."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pytest

from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import ModelVersion, read_models
from tfx_feeder.pipeline.metadata.types import RUNNING, SUCCEEDED
from tfx_feeder.pipeline.orchestration import compiled_pipeline
from tfx_feeder.schemas import training_history
from tfx_feeder.schemas.training_history import History

pytestmark = [pytest.mark.slow, pytest.mark.multi_worker]

ROUNDS = int(os.environ.get("TFX_FEEDER_TEST_SOAK_ROUNDS", "1"))
"""Each command is killed a few times in a round, up to 24 times in all, 20 of them without `long`.

A command that ends before its moment is not killed.
"""
PROJECT = Path(__file__).resolve().parents[2]
LOCAL_RUNNER = (str(PROJECT / "local_runner.py"),)
TFX_FEEDER = ("-c", "from tfx_feeder.pipeline.cli.main import main; main()")
LONG_ENOUGH_TO_RESUME = ("--schedule", "0.01:16x8, 0.005:32x4 @40")
_LIMIT_S = 900


def start(*arguments: str) -> subprocess.Popen:
    """Starts a command as the leader of a process group."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(arguments: Sequence[str], statuses: Sequence[int] = (0,)) -> str:
    """Runs a command to its end, and returns what it printed."""
    process = start(*arguments)
    said, _ = process.communicate(timeout=_LIMIT_S)
    assert process.returncode in statuses, said
    return said


def kill(kills: int, arguments: Sequence[str], longest_s: float) -> None:
    """Kills a command at random moments: the process alone, or with all that it started.

    Args:
        kills: Number of kills; the command is started anew for each.
        arguments: Arguments of Python.
        longest_s: Longest time from the start to the kill; an earlier end counts as well.
    """
    dice = random.Random(" ".join(arguments[-2:]))
    for _ in range(kills * ROUNDS):
        process = start(*arguments)
        try:
            process.wait(dice.uniform(0, longest_s))
        except subprocess.TimeoutExpired:
            if dice.random() < 0.5:
                os.kill(process.pid, signal.SIGKILL)
            else:
                os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=120)  # Until every process has closed its output.


class Root:
    """A root folder and what a user may expect of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def lineage(self) -> Lineage:
        return Lineage.open(self.folder, "digits")

    def models(self) -> list[ModelVersion]:
        """Returns the models, oldest first."""
        return read_models(self.lineage())[::-1]

    def history(self, number: int = 0) -> History:
        return training_history.read(self.models()[number].history.path)

    def weights(self, number: int = 0) -> list[np.ndarray]:
        [path] = self.models()[number].model.path.rglob("*.keras")
        return keras.models.load_model(path).get_weights()

    def check(self) -> None:
        """Checks that nothing is open, half written, or served without being whole."""
        runs = self.lineage().runs()
        assert not [e for run in runs for e in run.executions if e.state == RUNNING]
        serving = self.folder / "serving" / "digits"
        versions = list(serving.iterdir())
        assert all(path.name.isdecimal() for path in versions), versions
        for version in versions:
            finish([*TFX_FEEDER, "verify", str(version)])
        live = [push.version for m in self.models() if m.live for push in m.pushes]
        assert max(path.name for path in versions) in live


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Root:
    """A root with one run that nobody disturbed."""
    root = Root(tmp_path_factory.mktemp("whole"))
    finish([*LOCAL_RUNNER, "--root", str(root.folder), *LONG_ENOUGH_TO_RESUME])
    return root


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Root:
    """A root for runs that are killed, one test after another."""
    return Root(tmp_path_factory.mktemp("killed"))


def assert_same_training(got: Root, expected: Root) -> None:
    """Compares the oldest models: each example counted once, and weights equal to the bit."""
    epochs, expected_epochs = (root.history().epochs for root in (got, expected))
    assert [e.examples for e in epochs] == [e.examples for e in expected_epochs]
    assert [e.metrics for e in epochs] == [e.metrics for e in expected_epochs]
    for weight, expected_weight in zip(got.weights(), expected.weights(), strict=True):
        np.testing.assert_array_equal(weight, expected_weight)


def test_pipeline(whole, killed):
    command = [*LOCAL_RUNNER, "--root", str(killed.folder), *LONG_ENOUGH_TO_RESUME]
    kill(8, command, 35)
    # The kills may have left no more to do than to repeat what has been done.
    finish([*command, "--span", "1"])
    killed.check()
    assert_same_training(killed, whole)
    assert len({model.model.id for model in killed.models()}) == 1


def test_retraining(killed):
    arguments = ["retrain", "--once", "--reason", "soak", "--root", str(killed.folder)]
    command = [*TFX_FEEDER, *arguments, "--schedule", "0.005:32x2 @40"]
    kill(5, command, 45)
    finish(command, statuses=(0, 3))
    killed.check()
    assert not list((killed.folder / "retrain").glob("*.json"))


def test_rollback(killed):
    first = min(path.name for path in (killed.folder / "serving" / "digits").iterdir())
    command = [*TFX_FEEDER, "rollback", first, "--reason", "soak", "--store", str(killed.folder)]
    kill(4, command, 15)
    # It is live already if a kill came too late, and rolling back to it is wrong usage then.
    finish(command, statuses=(0, 2))
    killed.check()
    [live] = [model for model in killed.models() if model.live]
    assert live.pushes[0].version == first
    assert not live.withdrawn


def test_garbage_collection(killed):
    limits = ("--older-than", "0.001s", "--keep-runs", "0")
    command = [*TFX_FEEDER, "gc", *limits, "--yes", "--store", str(killed.folder)]
    kill(3, command, 4)
    finish(command)
    killed.check()
    listed = json.loads(finish([*command[:-3], "--store", str(killed.folder), "--json"]))
    assert listed["files"] == []
    # What is left is enough to go on with.
    finish([*LOCAL_RUNNER, "--root", str(killed.folder), "--schedule", "0.005:32x1 @10"], (0, 3))
    killed.check()


@pytest.mark.long
def test_node_by_node(tmp_path):
    root, compiled = Root(tmp_path / "root"), tmp_path / "pipeline.json"
    options = ("--root", str(root.folder), "--schedule", "0.01:16x3 @40")
    finish([*TFX_FEEDER, "compile", "-o", str(compiled), *options])
    nodes = list(compiled_pipeline.read(compiled).upstream)
    unlucky = random.Random(1).sample(nodes, 2)
    for node in nodes:
        command = [*TFX_FEEDER, "run-node", "--ir", str(compiled), "--node", node, "--run-id", "1"]
        kill(unlucky.count(node), command, 12)
        finish(command, statuses=(0, 3))
    states = {}
    for execution in root.lineage().executions("1"):
        states.setdefault(execution.node, []).append(execution.state)
    assert all(sum(state in SUCCEEDED for state in of_node) == 1 for of_node in states.values())


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["multi_worker", "parameter_server"])
def test_strategies(tmp_path, strategy):
    root = Root(tmp_path)
    options = ("--strategy", strategy, "--cluster", "local:2")
    schedule = ("--schedule", "0.01:32x12 @20")
    command = [*LOCAL_RUNNER, "--root", str(tmp_path), *options, *schedule]
    kill(1, command, 60)
    finish([*command, "--span", "1"], statuses=(0, 3))
    assert not [e for run in root.lineage().runs() for e in run.executions if e.state == RUNNING]
    assert [epoch.examples for epoch in root.history().epochs] == [32 * 20] * 12
