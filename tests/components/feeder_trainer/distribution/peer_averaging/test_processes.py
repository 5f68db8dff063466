"""Peer averaging with real processes: it learns, and it survives the loss of a member."""

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


class Member:
    """A process, and what it prints."""

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
        assert line, f"It ended: {self.end()[1]}"
        return json.loads(line)

    def end(self) -> tuple[list[dict[str, Any]], str]:
        """Waits for the end; returns the records, and what went wrong."""
        output, errors = self.process.communicate(timeout=LONG_S)
        return [json.loads(line) for line in output.splitlines()], errors


@pytest.fixture
def run() -> Iterator[Any]:
    with contextlib.ExitStack() as stack:

        def start(count: int, epochs: int, exchange: str = "broadcast") -> list[Member]:
            where = free_addresses(count)
            members = [Member(index, exchange, epochs, where) for index in range(count)]
            for member in members:
                stack.enter_context(member.process)
                stack.callback(member.process.kill)
            return members

        yield start


def test_two_peers_reach_what_one_reaches_in_more_epochs_perhaps(run: Any) -> None:
    """Some epoch comes within a point; where the team ends depends on when snapshots arrived."""
    (alone,) = run(1, epochs=20)
    expected, errors = alone.end()
    assert alone.process.returncode == 0, errors

    team = run(2, epochs=30)
    (records, errors), _ = [member.end() for member in team]

    assert [member.process.returncode for member in team] == [0, 0], errors
    assert records[-1]["used"] > 0
    reached = max(record["val_accuracy"] for record in records)
    assert reached >= expected[-1]["val_accuracy"] - 0.01


def test_a_killed_member_is_done_without_and_a_killed_chief_ends_the_team(run: Any) -> None:
    chief, member, victim = run(3, epochs=1_000_000, exchange="ring")
    assert chief.epoch()["failed_workers"] == 0

    victim.process.send_signal(signal.SIGKILL)
    while not (record := chief.epoch())["failed_workers"]:
        pass
    used = record["used"]
    while chief.epoch()["used"] <= used:
        pass

    chief.process.send_signal(signal.SIGKILL)
    _, errors = member.end()
    assert member.process.returncode
    assert "PeerLostError: the chief at" in errors
