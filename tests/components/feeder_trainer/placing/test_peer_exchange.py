"""Snapshots between peers, and the team: real servers on this machine, without TensorFlow."""

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tfx_feeder.components.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.placing.addresses import free_addresses
from tfx_feeder.components.feeder_trainer.placing.peer_exchange import Exchange, mean
from tfx_feeder.components.feeder_trainer.placing.peer_node import (
    Message,
    Node,
    PeerLostError,
    UnreachableError,
)
from tfx_feeder.components.feeder_trainer.placing.peer_team import PeerTeam

LONG_S = 30.0


def eventually(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.fixture
def closing() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def make_nodes(closing: contextlib.ExitStack) -> Callable[[int], list[Node]]:
    def make(count: int) -> list[Node]:
        where = free_addresses(count)
        nodes = [Node(where, position) for position in range(count)]
        for node in nodes:
            closing.callback(node.close)
        return nodes

    return make


@pytest.fixture
def make_exchanges(make_nodes: Any, closing: contextlib.ExitStack) -> Callable[..., Any]:
    def make(count: int, pattern: str, start: bool = True) -> tuple[list[Node], list[Exchange]]:
        nodes = make_nodes(count)
        exchanges = [Exchange(node, pattern) for node in nodes]
        for node, exchange in zip(nodes, exchanges, strict=True):
            closing.callback(exchange.close)
            if start:
                node.start()
        return nodes, exchanges

    return make


@pytest.fixture
def make_team(make_nodes: Any, closing: contextlib.ExitStack) -> Callable[..., list[PeerTeam]]:
    def make(count: int, timeout_s: float = LONG_S) -> list[PeerTeam]:
        teams = [PeerTeam(node, timeout_s=timeout_s) for node in make_nodes(count)]
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


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_a_message_survives_the_way(kind: str) -> None:
    message = Message(2**62, 1, 3, np.array([1.5, -2.25], kind))

    copy = Message.from_bytes(message.to_bytes())

    assert copy[:3] == message[:3]
    assert copy.array.dtype == kind
    assert copy.array.tolist() == [1.5, -2.25]


def test_mean_leaves_its_arguments_alone() -> None:
    own = vector(1, 2)
    own.setflags(write=False)

    assert mean(own, [vector(4, 5), vector(7, 5)]).tolist() == [4, 4]
    assert mean(own, []).tolist() == [1, 2]


def test_broadcast_reaches_all_and_each_snapshot_is_used_once(make_exchanges: Any) -> None:
    _, (first, *others) = make_exchanges(3, "broadcast")

    first.offer(7, vector(1, 2))
    for other in others:
        eventually(lambda other=other: other._inbox)
        assert [array.tolist() for array in other.take(step=9)] == [[1, 2]]
        assert other.take(step=10) == []
        assert (other.figures.mean_staleness, other.figures.used) == (2, 1)
    assert first.take(step=7) == []


def test_ring_reaches_the_next_only(make_exchanges: Any) -> None:
    _, exchanges = make_exchanges(3, "ring")

    exchanges[2].offer(1, vector(1))

    eventually(lambda: exchanges[0]._inbox)
    assert exchanges[1].take(1) == []


def test_ring_goes_around_a_peer_that_is_gone(make_exchanges: Any) -> None:
    nodes, exchanges = make_exchanges(3, "ring")
    nodes[1].close()

    def offer() -> bool:
        exchanges[0].offer(1, vector(1))
        return bool(exchanges[2]._inbox)

    eventually(offer)
    assert exchanges[0].figures.failed == 1


def test_only_the_newest_snapshot_is_kept(make_exchanges: Any) -> None:
    _, (sender, receiver) = make_exchanges(2, "broadcast")

    for step in range(1, 6):
        sender.offer(step, vector(step))
        eventually(lambda step=step: receiver._inbox and receiver._inbox[0].number == step)

    assert [array.tolist() for array in receiver.take(step=4)] == [[5]]
    assert receiver.figures.dropped == 4
    assert (receiver.figures.mean_staleness, receiver.figures.max_staleness) == (-1, -1)


def test_a_busy_peer_is_never_waited_for(make_nodes: Any, closing: contextlib.ExitStack) -> None:
    busy, node = make_nodes(2)
    gate, received = threading.Event(), []

    def slow(message: Message) -> None:
        received.append(message.number)
        gate.wait(LONG_S)

    busy.on("snapshot", slow)
    exchange = Exchange(node, "broadcast")
    closing.callback(exchange.close)
    closing.callback(gate.set)
    busy.start()
    node.start()

    exchange.offer(1, vector(1))
    eventually(lambda: received)
    for step in range(2, 100):
        exchange.offer(step, vector(step))
    gate.set()

    eventually(lambda: len(received) == 2)
    assert received == [1, 99]
    assert exchange.figures.dropped == 97


def test_a_dead_peer_is_counted_and_nothing_else(make_exchanges: Any) -> None:
    nodes, (exchange, _) = make_exchanges(2, "broadcast")
    nodes[1].close()

    exchange.offer(1, vector(1))

    eventually(lambda: exchange.figures.failed == 1)


def test_snapshots_of_another_start_of_the_team_are_refused(make_exchanges: Any) -> None:
    nodes, (old, new) = make_exchanges(2, "broadcast")
    nodes[1].session = 5

    old.offer(1, vector(1))

    eventually(lambda: old.figures.failed == 1)
    assert new.take(1) == []


def test_a_large_snapshot_passes(make_exchanges: Any) -> None:
    _, (sender, receiver) = make_exchanges(2, "broadcast")

    sender.offer(1, np.ones(5_000_000, np.float32))

    eventually(lambda: receiver._inbox)
    assert receiver.take(1)[0].sum() == 5_000_000


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        address = f"localhost:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=address):
            Node([address], 0)


def test_every_member_gets_the_values_of_the_chief(make_team: Any) -> None:
    teams = make_team(3)

    answers = side_by_side(teams, lambda team: [team.agree([team.is_chief, k]) for k in range(4)])

    assert answers == [[[1, k] for k in range(4)]] * 3


def test_the_chief_goes_ahead_of_the_others(make_team: Any) -> None:
    chief, member = make_team(2)

    for k in range(5):
        chief.agree([k])

    assert [member.agree([-1]) for _ in range(5)] == [[k] for k in range(5)]
    chief.agree([5])
    assert member.agree([-1]) == [5]
    assert len(chief._published) <= 2  # What all have fetched is not kept.


def test_total_is_the_sum_over_all(make_team: Any) -> None:
    teams = make_team(3)

    totals = side_by_side(teams, lambda team: team.total(vector(1, team._node.position)))

    assert [total.tolist() for total in totals] == [[3, 3]] * 3


def test_total_goes_on_without_a_member_that_died(make_team: Any) -> None:
    teams = make_team(3, timeout_s=1)
    teams[1]._node.close()

    totals = side_by_side([teams[0], teams[2]], lambda team: team.total(vector(1)))

    assert [total.tolist() for total in totals] == [[2], [2]]
    assert teams[0].lost == {1}


def test_total_goes_on_without_a_member_that_left(make_team: Any) -> None:
    chief, member, leaver = make_team(3)
    leaver.close()

    totals = side_by_side([chief, member], lambda team: team.total(vector(1)))

    assert [total.tolist() for total in totals] == [[2], [2]]
    assert chief.lost == {2}


def test_a_slow_member_is_waited_for_as_long_as_it_answers(make_team: Any) -> None:
    teams = make_team(2, timeout_s=1)

    def late(team: PeerTeam) -> list[float]:
        time.sleep(0 if team.is_chief else 3)
        return team.total(vector(1)).tolist()

    assert side_by_side(teams, late) == [[2], [2]]


def test_a_member_notices_that_the_chief_is_gone(make_team: Any) -> None:
    chief, member = make_team(2, timeout_s=1)
    chief._node.close()

    with pytest.raises(PeerLostError, match="the chief at localhost"):
        member.agree([1])


def test_a_chief_that_ends_early_tells_the_members(make_team: Any) -> None:
    chief, member = make_team(2)

    def part(team: PeerTeam) -> None:
        if not team.is_chief:
            with pytest.raises(PeerLostError, match="ended"):
                member.agree([1])
        team.close()

    side_by_side([chief, member], part)


def test_the_chief_stays_until_the_others_have_what_they_need(make_team: Any) -> None:
    chief, member = make_team(2)
    chief.agree([42])
    leaving = threading.Thread(target=chief.close)
    leaving.start()

    assert member.agree([0]) == [42]
    assert leaving.is_alive()
    member.close()
    leaving.join(LONG_S)
    assert not leaving.is_alive()


def test_members_of_different_models_do_not_mix(make_team: Any) -> None:
    chief, member = make_team(2)
    chief.share(vector(1, 2, 3))

    with pytest.raises(PeerLostError, match="3 values where this member has 2"):
        member.share(vector(1, 2))


def test_a_member_that_was_started_again_alone_is_refused(make_team: Any) -> None:
    _, member = make_team(2)
    address = member._node._addresses
    member._node.close()
    again = Node(address, 1)
    try:
        with pytest.raises(PeerLostError, match="Only member 1"):
            PeerTeam(again).start()
    finally:
        again.close()


def test_a_member_that_does_not_come_is_named(make_nodes: Any) -> None:
    chief, _ = make_nodes(2)
    team = PeerTeam(chief, start_timeout_s=0.2)
    chief.start()

    with pytest.raises(PeerLostError, match="member 1 at localhost"):
        team.start()


def test_members_may_be_there_before_the_chief(make_nodes: Any) -> None:
    nodes = make_nodes(2)
    teams = [PeerTeam(node) for node in nodes]
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
from tfx_feeder.components.feeder_trainer.placing.peer_node import Node
from tfx_feeder.components.feeder_trainer.placing.peer_team import PeerTeam

node = Node(sys.argv[2:], int(sys.argv[1]))
team = PeerTeam(node, timeout_s=1)
node.start()
team.start()
while True:
    print(team.total(np.ones(1, np.float32)).tolist(), flush=True)
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
        eventually(lambda: chief.stdout and chief.stdout.readline() == "[2.0]\n")
        eventually(lambda: member.stdout and member.stdout.readline() == "[2.0]\n")
    else:
        _, errors = member.communicate(timeout=LONG_S)
        assert "PeerLostError: the chief at" in errors
