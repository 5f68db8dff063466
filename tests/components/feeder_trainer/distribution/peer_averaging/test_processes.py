"""Peer averaging with real processes: accuracy, and recovery from failed workers."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tfx_feeder.components.feeder_trainer.distribution.cluster import free_addresses

pytestmark = [pytest.mark.multi_worker, pytest.mark.slow]

JOB = Path(__file__).parents[1] / "workers" / "peer_training.py"
LONG_S = 120


class Worker:
    """Worker process with its printed records."""

    def __init__(self, index: int, exchange: str, epochs: int, where: list[str]) -> None:
        arguments = [str(index), exchange, "0", str(epochs), "128", *where]
        self.process = subprocess.Popen(
            [sys.executable, str(JOB), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def epoch(self) -> dict[str, Any]:
        """Returns the record of the next epoch."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the worker exited: {self.end()[1]}"
        return json.loads(line)

    def end(self) -> tuple[list[dict[str, Any]], str]:
        """Waits for the exit; returns the records and the standard error."""
        output, errors = self.process.communicate(timeout=LONG_S)
        return [json.loads(line) for line in output.splitlines()], errors


@pytest.fixture
def run() -> Iterator[Any]:
    with contextlib.ExitStack() as stack:

        def start(count: int, epochs: int, exchange: str = "broadcast") -> list[Worker]:
            where = free_addresses(count)
            workers = [Worker(index, exchange, epochs, where) for index in range(count)]
            for worker in workers:
                stack.enter_context(worker.process)
                stack.callback(worker.process.kill)
            return workers

        yield start


def test_two_peers_reach_the_accuracy_of_single_device_training(run: Any) -> None:
    """The best epoch is within a point; the last one depends on the arrival of snapshots."""
    (alone,) = run(1, epochs=20)
    expected, errors = alone.end()
    assert alone.process.returncode == 0, errors

    group = run(2, epochs=30)
    (records, errors), _ = [worker.end() for worker in group]

    assert [worker.process.returncode for worker in group] == [0, 0], errors
    assert records[-1]["used"] > 0
    reached = max(record["val_accuracy"] for record in records)
    assert reached >= expected[-1]["val_accuracy"] - 0.01


def test_training_continues_without_a_killed_worker_and_ends_without_the_chief(run: Any) -> None:
    chief, worker, victim = run(3, epochs=1_000_000, exchange="ring")
    assert chief.epoch()["failed_workers"] == 0

    victim.process.send_signal(signal.SIGKILL)
    while not (record := chief.epoch())["failed_workers"]:
        pass
    used = record["used"]
    while chief.epoch()["used"] <= used:
        pass

    chief.process.send_signal(signal.SIGKILL)
    _, errors = worker.end()
    assert worker.process.returncode
    assert "PeerLostError: the chief at" in errors
