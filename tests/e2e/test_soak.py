"""Commands killed at random moments end, when they are repeated, as if nothing had happened."""

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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
"""Rounds of 26 kills, 20 of them without `long`."""
PROJECT = Path(__file__).resolve().parents[2]
LOCAL_RUNNER = (str(PROJECT / "local_runner.py"),)
TFX_FEEDER = ("-c", "from tfx_feeder.pipeline.cli.main import main; main()")
LONG_ENOUGH_TO_RESUME = ("--schedule", "0.01:16x8, 0.005:32x4 @40")
DONE, NOT_BLESSED, USAGE_ERROR = 0, 3, 2
_LIMIT_S = 900
_kills: Counter[str] = Counter()
_ends: Counter[str] = Counter()

Command = Callable[[int], Sequence[str]]
"""Arguments of Python for the first command, the second and so on."""


@pytest.fixture(scope="module", autouse=True)
def _table(request) -> Iterator[None]:
    """Prints how many commands of each kind were killed."""
    yield
    lines = [f"{kind:28}{_kills[kind]:8}{_ends[kind]:14}" for kind in sorted(_kills | _ends)]
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{'command':28}{'killed':>8}{'ended before':>14}", *lines, sep="\n")
        print(f"{'all':28}{_kills.total():8}{_ends.total():14}")


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


def finish(arguments: Sequence[str], statuses: Sequence[int] = (DONE,)) -> str:
    """Runs a command to its end, and returns what it printed."""
    process = start(*arguments)
    said, _ = process.communicate(timeout=_LIMIT_S)
    assert process.returncode in statuses, said
    return said


def strike(
    kind: str,
    arguments: Sequence[str],
    after_s: float,
    dice: random.Random,
    statuses: Sequence[int],
) -> bool:
    """Starts a command and kills it: the process alone, or with all that it started.

    Returns:
        True if it was killed; False if it ended well before, which does not count.
    """
    process = start(*arguments)
    try:
        said, _ = process.communicate(timeout=after_s)
    except subprocess.TimeoutExpired:
        for each in dice.choice([[], _session(process.pid)]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        process.kill()
        # Until every process has closed its output; a retraining goes on without its parent.
        said, _ = process.communicate(timeout=_LIMIT_S)
    is_killed = process.returncode == -signal.SIGKILL
    (_kills if is_killed else _ends)[kind] += 1
    assert is_killed or process.returncode in statuses, said
    return is_killed


def _session(leader: int) -> list[int]:
    """Returns all processes of a session; a retraining has a process group of its own."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            _, _, _, session, *_ = path.read_text().rpartition(")")[2].split()
            if int(session) == leader:
                found.append(int(path.parent.name))
    return found


def kill(
    kind: str, kills: int, command: Command, takes_s: float, statuses: Sequence[int] = (DONE,)
) -> int:
    """Kills commands at random moments, and repeats each until it ends before its moment.

    Args:
        kind: Name of the command in the table.
        kills: Number of kills in a round.
        command: Commands that find something to do although the one before has ended.
        takes_s: Time that a command takes; corrected by the first that ends undisturbed.
        statuses: Exit statuses of a command that ends well.

    Returns:
        The number of the last command; the ones before have ended.
    """
    dice, number, is_repeated, left = random.Random(kind), 0, False, kills * ROUNDS
    while left:
        began = time.monotonic()
        if strike(kind, command(number), dice.uniform(0, takes_s), dice, statuses):
            is_repeated, left = True, left - 1
            continue
        if not is_repeated:
            takes_s = time.monotonic() - began
        is_repeated, number = False, number + 1
    finish(command(number), statuses)
    return number


class Root:
    """A root folder and what a user may expect of it."""

    def __init__(self, folder: Path, pipeline: str = "digits") -> None:
        self.folder = folder
        self._pipeline = pipeline

    @property
    def serving(self) -> Path:
        served = self.folder / "serving"
        return served if self._pipeline == "small" else served / self._pipeline

    def lineage(self) -> Lineage:
        return Lineage.open(self.folder, self._pipeline)

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
        versions = list(self.serving.iterdir())
        assert all(path.name.isdecimal() for path in versions), versions
        for version in versions:
            finish([*TFX_FEEDER, "verify", str(version)])
        live = [push.version for m in self.models() if m.live for push in m.pushes]
        assert not versions or max(path.name for path in versions) in live


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder for roots."""
    return tmp_path_factory.mktemp("killed")


@pytest.fixture(scope="module")
def killed(folder) -> Root:
    """A root for runs that are killed, one test after another."""
    return Root(folder / "0")


def assert_same_training(got: Root, expected: Root) -> None:
    """Compares the oldest models: each example counted once, and weights equal to the bit."""
    epochs, expected_epochs = (root.history().epochs for root in (got, expected))
    assert [e.examples for e in epochs] == [e.examples for e in expected_epochs]
    assert [e.metrics for e in epochs] == [e.metrics for e in expected_epochs]
    for weight, expected_weight in zip(got.weights(), expected.weights(), strict=True):
        np.testing.assert_array_equal(weight, expected_weight)


def test_pipeline(folder, tmp_path):
    def command(root: Path) -> Sequence[str]:
        return *LOCAL_RUNNER, "--root", str(root), "--span", "1", *LONG_ENOUGH_TO_RESUME

    whole, began = Root(tmp_path), time.monotonic()
    finish(command(whole.folder))
    takes_s = time.monotonic() - began
    last = kill("local_runner.py", 8, lambda number: command(folder / str(number)), takes_s)
    for number in range(last + 1):
        root = Root(folder / str(number))
        root.check()
        assert_same_training(root, whole)
        assert len({model.model.id for model in root.models()}) == 1


def test_retraining(killed):
    options = ("--once", "--root", str(killed.folder), "--schedule", "0.005:32x2 @40")
    # With the same reason, the next retraining would be taken from the cache.
    kill(
        "tfx-feeder retrain",
        5,
        lambda number: [*TFX_FEEDER, "retrain", *options, "--reason", f"soak {number}"],
        takes_s=45,
        statuses=(DONE, NOT_BLESSED),
    )
    killed.check()
    assert not list((killed.folder / "retrain").glob("*.json"))


def test_rollback(tmp_path):
    root = Root(tmp_path, "small")
    finish([str(PROJECT / "tests" / "e2e" / "power_cut" / "small_runs.py"), str(tmp_path), "2"])
    versions = sorted(path.name for path in root.serving.iterdir())
    arguments = ("--reason", "soak", "--store", str(tmp_path))
    last = kill(
        "tfx-feeder rollback",
        4,
        lambda number: [*TFX_FEEDER, "rollback", versions[number % 2], *arguments],
        takes_s=15,
        # A kill may come after everything was done; its version is live then.
        statuses=(DONE, USAGE_ERROR),
    )
    root.check()
    [live] = [model for model in root.models() if model.live]
    assert live.pushes[0].version == versions[last % 2]
    assert not live.withdrawn


def test_garbage_collection(killed):
    limits = ("--older-than", "0.001s", "--keep-runs", "0", "--store", str(killed.folder))
    finish([*LOCAL_RUNNER, "--root", str(killed.folder), "--span", "1"], (DONE, NOT_BLESSED))

    def command(number: int) -> Sequence[str]:
        for digits in range(200):
            trainer = killed.folder / "artifacts" / "digits" / "FeederTrainer"
            abandoned = trainer / "checkpoints" / f"{digits:016x}" / "at-1"
            abandoned.mkdir(parents=True, exist_ok=True)
            (abandoned / "arrays.npz").write_bytes(b"0" * 1000)
        return [*TFX_FEEDER, "gc", *limits, "--yes"]

    kill("tfx-feeder gc", 3, command, takes_s=4)
    killed.check()
    listed = json.loads(finish([*TFX_FEEDER, "gc", *limits, "--json"]))
    assert listed["files"] == listed["leftovers"] == []
    # What is left is enough to go on with.
    shortest = ("--schedule", "0.005:32x1 @10")
    finish([*LOCAL_RUNNER, "--root", str(killed.folder), *shortest], (DONE, NOT_BLESSED))
    killed.check()


@pytest.mark.long
def test_node_by_node(tmp_path):
    root, compiled = Root(tmp_path / "root"), tmp_path / "pipeline.json"
    options = ("--root", str(root.folder), "--schedule", "0.01:16x3 @40", "--no-cache")
    finish([*TFX_FEEDER, "compile", "-o", str(compiled), *options])
    nodes = list(compiled_pipeline.read(compiled).upstream)
    dice, left, takes_s = random.Random(1), 2 * ROUNDS, dict.fromkeys(nodes, 10.0)
    statuses = (DONE, NOT_BLESSED)
    for run_id in map(str, itertools.count()):
        for node in nodes:
            words = ("run-node", "--ir", str(compiled), "--node", node, "--run-id", run_id)
            command, began = [*TFX_FEEDER, *words], time.monotonic()
            if left and dice.random() < 0.25:
                after_s = dice.uniform(0, takes_s[node])
                left -= strike("tfx-feeder run-node", command, after_s, dice, statuses)
                finish(command, statuses)
            else:
                finish(command, statuses)
                takes_s[node] = time.monotonic() - began
        states: dict[str, list[str]] = {}
        for execution in root.lineage().executions(run_id):
            states.setdefault(execution.node, []).append(execution.state)
        assert all(sum(state in SUCCEEDED for state in of_node) == 1 for of_node in states.values())
        assert not any(RUNNING in of_node for of_node in states.values())
        if not left:
            break
    root.check()


@pytest.mark.long
@pytest.mark.parametrize(
    "strategy", ["multi_worker", "parameter_server", "parameter_server_sync", "peer_averaging"]
)
def test_strategies(tmp_path, strategy):
    options = ("--strategy", strategy, "--cluster", "local:2")
    schedule = ("--span", "1", "--schedule", "0.01:32x12 @20")
    last = kill(
        strategy,
        1,
        lambda number: [*LOCAL_RUNNER, "--root", str(tmp_path / str(number)), *options, *schedule],
        takes_s=60,
        statuses=(DONE, NOT_BLESSED),
    )
    for root in (Root(tmp_path / str(number)) for number in range(last + 1)):
        runs = root.lineage().runs()
        assert not [e for run in runs for e in run.executions if e.state == RUNNING]
        assert [epoch.examples for epoch in root.history().epochs] == [32 * 20] * 12
