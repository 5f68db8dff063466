"""The process group of peers: real servers on this machine, without TensorFlow."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests.components.feeder_trainer.distribution.workers.waiting import wait_for
from tfx_feeder.components.feeder_trainer.distribution.cluster import free_addresses
from tfx_feeder.components.feeder_trainer.distribution.peer_averaging.group import PeerGroup
from tfx_feeder.components.feeder_trainer.distribution.peer_averaging.node import (
    PeerLostError,
    PeerNode,
    UnreachableError,
)

LONG_S = 30.0


@pytest.fixture
def make_team(make_nodes: Any, closing: contextlib.ExitStack) -> Callable[..., list[PeerGroup]]:
    def make(count: int, timeout_s: float = LONG_S) -> list[PeerGroup]:
        teams = [PeerGroup(node, timeout_s=timeout_s) for node in make_nodes(count)]
        for team in teams:
            team._node.start()
        side_by_side(teams, lambda team: team.start())
        return teams

    return make


def side_by_side(teams: list[Any], run: Callable[[Any], Any]) -> list[Any]:
    """Runs a function on each member in a thread of its own."""
    with ThreadPoolExecutor(len(teams)) as pool:
        return list(pool.map(run, teams, timeout=LONG_S))


def vector(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_every_member_gets_the_values_of_the_chief(make_team: Any) -> None:
    teams = make_team(3)

    answers = side_by_side(
        teams, lambda team: [team.broadcast([team.is_chief, k]) for k in range(4)]
    )

    assert answers == [[[1, k] for k in range(4)]] * 3


def test_the_chief_goes_ahead_of_the_others(make_team: Any) -> None:
    chief, member = make_team(2)

    for k in range(5):
        chief.broadcast([k])

    assert [member.broadcast([-1]) for _ in range(5)] == [[k] for k in range(5)]
    chief.broadcast([5])
    assert member.broadcast([-1]) == [5]
    assert len(chief._published) <= 2  # What all have fetched is not kept.


def test_all_reduce_sum_is_the_sum_over_all(make_team: Any) -> None:
    teams = make_team(3)

    totals = side_by_side(teams, lambda team: team.all_reduce_sum(vector(1, team._node.rank)))

    assert [total.tolist() for total in totals] == [[3, 3]] * 3


def test_all_reduce_sum_goes_on_without_a_member_that_died(make_team: Any) -> None:
    teams = make_team(3, timeout_s=1)
    teams[1]._node.close()

    totals = side_by_side([teams[0], teams[2]], lambda team: team.all_reduce_sum(vector(1)))

    assert [total.tolist() for total in totals] == [[2], [2]]
    assert teams[0].failed == {1}


def test_all_reduce_sum_goes_on_without_a_member_that_left(make_team: Any) -> None:
    chief, member, leaver = make_team(3)
    leaver.close()

    totals = side_by_side([chief, member], lambda team: team.all_reduce_sum(vector(1)))

    assert [total.tolist() for total in totals] == [[2], [2]]
    assert chief.failed == {2}


def test_a_slow_member_is_waited_for_as_long_as_it_answers(make_team: Any) -> None:
    teams = make_team(2, timeout_s=1)

    def late(team: PeerGroup) -> list[float]:
        time.sleep(0 if team.is_chief else 3)
        return team.all_reduce_sum(vector(1)).tolist()

    assert side_by_side(teams, late) == [[2], [2]]


def test_a_member_notices_that_the_chief_is_gone(make_team: Any) -> None:
    chief, member = make_team(2, timeout_s=1)
    chief._node.close()

    with pytest.raises(PeerLostError, match="the chief at localhost"):
        member.broadcast([1])


def test_a_chief_that_ends_early_tells_the_members(make_team: Any) -> None:
    chief, member = make_team(2)

    def part(team: PeerGroup) -> None:
        if not team.is_chief:
            with pytest.raises(PeerLostError, match="ended"):
                member.broadcast([1])
        team.close()

    side_by_side([chief, member], part)


def test_the_chief_stays_until_the_others_have_what_they_need(make_team: Any) -> None:
    chief, member = make_team(2)
    chief.broadcast([42])
    leaving = threading.Thread(target=chief.close)
    leaving.start()

    assert member.broadcast([0]) == [42]
    assert leaving.is_alive()
    member.close()
    leaving.join(LONG_S)
    assert not leaving.is_alive()


def test_members_of_different_models_do_not_mix(make_team: Any) -> None:
    chief, member = make_team(2)
    chief.broadcast_array(vector(1, 2, 3))

    with pytest.raises(PeerLostError, match="3 values, but this worker has 2"):
        member.broadcast_array(vector(1, 2))


def test_a_member_that_was_started_again_alone_is_refused(make_team: Any) -> None:
    _, member = make_team(2)
    address = member._node._addresses
    member._node.close()
    again = PeerNode(address, 1)
    try:
        with pytest.raises(PeerLostError, match="Only worker 1"):
            PeerGroup(again).start()
    finally:
        again.close()


def test_a_member_that_does_not_come_is_named(make_nodes: Any) -> None:
    chief, _ = make_nodes(2)
    team = PeerGroup(chief, start_timeout_s=0.2)
    chief.start()

    with pytest.raises(PeerLostError, match="worker 1 at localhost"):
        team.start()


def test_members_may_be_there_before_the_chief(make_nodes: Any) -> None:
    nodes = make_nodes(2)
    teams = [PeerGroup(node) for node in nodes]
    nodes[1].start()
    with pytest.raises(UnreachableError):
        nodes[1].call(0, "join", nodes[1].message(), 0.2)
    waiting = threading.Thread(target=teams[1].start)
    waiting.start()

    nodes[0].start()
    teams[0].start()

    waiting.join(LONG_S)
    assert nodes[1].session == nodes[0].session != 0


MEMBER = """
import sys, time
import numpy as np
from tfx_feeder.components.feeder_trainer.distribution.peer_averaging.node import PeerNode
from tfx_feeder.components.feeder_trainer.distribution.peer_averaging.group import PeerGroup

node = PeerNode(sys.argv[2:], int(sys.argv[1]))
team = PeerGroup(node, timeout_s=1)
node.start()
team.start()
while True:
    print(team.all_reduce_sum(np.ones(1, np.float32)).tolist(), flush=True)
"""


def run_members(positions: range, where: list[str]) -> list["subprocess.Popen[str]"]:
    return [
        subprocess.Popen(
            [sys.executable, "-c", MEMBER, str(position), *where],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for position in positions
    ]


@pytest.mark.multi_worker
@pytest.mark.parametrize("victim", [0, 2])
def test_processes_that_are_killed(victim: int, closing: contextlib.ExitStack) -> None:
    processes = run_members(range(3), free_addresses(3))
    for process in processes:
        closing.callback(process.communicate)
        closing.callback(process.kill)
    chief, member = processes[0], processes[1]
    assert chief.stdout is not None
    assert member.stdout is not None
    assert chief.stdout.readline() == "[3.0]\n"

    processes[victim].send_signal(signal.SIGKILL)

    if victim:
        wait_for(lambda: chief.stdout and chief.stdout.readline() == "[2.0]\n")
        wait_for(lambda: member.stdout and member.stdout.readline() == "[2.0]\n")
    else:
        _, errors = member.communicate(timeout=LONG_S)
        assert "PeerLostError: the chief at" in errors
