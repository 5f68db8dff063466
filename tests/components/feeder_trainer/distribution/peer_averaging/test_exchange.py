"""Exchange of snapshots, with real servers on this machine and without TensorFlow."""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.components.feeder_trainer.distribution.workers.waiting import wait_for
from tfx_feeder.components.feeder_trainer.distribution.peer_averaging.exchange import Exchange, mean
from tfx_feeder.components.feeder_trainer.distribution.peer_averaging.node import (
    Message,
    PeerLostError,
    PeerNode,
)

LONG_S = 30.0


@pytest.fixture
def make_exchanges(make_nodes: Any, closing: contextlib.ExitStack) -> Callable[..., Any]:
    def make(count: int, pattern: str, start: bool = True) -> tuple[list[PeerNode], list[Exchange]]:
        nodes = make_nodes(count)
        exchanges = [Exchange(node, pattern) for node in nodes]
        for node, exchange in zip(nodes, exchanges, strict=True):
            closing.callback(exchange.close)
            if start:
                node.start()
        return nodes, exchanges

    return make


def vector(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_mean_does_not_modify_its_arguments() -> None:
    own = vector(1, 2)
    own.setflags(write=False)

    assert mean(own, [vector(4, 5), vector(7, 5)]).tolist() == [4, 4]
    assert mean(own, []).tolist() == [1, 2]


def test_broadcast_reaches_all_and_each_snapshot_is_used_once(make_exchanges: Any) -> None:
    _, (first, *others) = make_exchanges(3, "broadcast")

    first.publish(7, vector(1, 2))
    for other in others:
        wait_for(lambda other=other: other._inbox)
        assert [array.tolist() for array in other.drain(step=9, size=2)] == [[1, 2]]
        assert other.drain(step=10, size=2) == []
        assert (other.stats.mean_staleness, other.stats.used) == (2, 1)
    assert first.drain(step=7, size=2) == []


def test_ring_sends_to_the_next_peer_only(make_exchanges: Any) -> None:
    _, exchanges = make_exchanges(3, "ring")

    exchanges[2].publish(1, vector(1))

    wait_for(lambda: exchanges[0]._inbox)
    assert exchanges[1].drain(1, 1) == []


def test_ring_skips_a_failed_peer(make_exchanges: Any) -> None:
    nodes, exchanges = make_exchanges(3, "ring")
    nodes[1].close()

    def publish() -> bool:
        exchanges[0].publish(1, vector(1))
        return bool(exchanges[2]._inbox)

    wait_for(publish)
    assert exchanges[0].stats.failed  # Twice if a second snapshot was waiting.


def test_only_the_newest_snapshot_is_kept(make_exchanges: Any) -> None:
    _, (sender, receiver) = make_exchanges(2, "broadcast")

    for step in range(1, 6):
        sender.publish(step, vector(step))
        wait_for(lambda step=step: receiver._inbox and receiver._inbox[0].number == step)

    assert [array.tolist() for array in receiver.drain(step=4, size=1)] == [[5]]
    assert receiver.stats.dropped == 4
    assert (receiver.stats.mean_staleness, receiver.stats.max_staleness) == (-1, -1)


def test_a_busy_peer_is_never_waited_for(make_nodes: Any, closing: contextlib.ExitStack) -> None:
    busy, node = make_nodes(2)
    gate, received = threading.Event(), []

    def slow(message: Message) -> None:
        received.append(message.number)
        gate.wait(LONG_S)

    busy.register_handler("snapshot", slow)
    exchange = Exchange(node, "broadcast")
    closing.callback(exchange.close)
    closing.callback(gate.set)
    busy.start()
    node.start()

    exchange.publish(1, vector(1))
    wait_for(lambda: received)
    for step in range(2, 100):
        exchange.publish(step, vector(step))
    gate.set()

    wait_for(lambda: len(received) == 2)
    assert received == [1, 99]
    assert exchange.stats.dropped == 97


def test_a_failed_peer_is_only_counted(make_exchanges: Any) -> None:
    nodes, (exchange, _) = make_exchanges(2, "broadcast")
    nodes[1].close()

    exchange.publish(1, vector(1))

    wait_for(lambda: exchange.stats.failed == 1)


def test_snapshots_of_another_session_are_rejected(make_exchanges: Any) -> None:
    nodes, (old, new) = make_exchanges(2, "broadcast")
    nodes[1].session = 5

    old.publish(1, vector(1))

    wait_for(lambda: old.stats.failed == 1)
    assert new.drain(1, 1) == []


def test_a_large_snapshot_is_transferred(make_exchanges: Any) -> None:
    _, (sender, receiver) = make_exchanges(2, "broadcast")

    sender.publish(1, np.ones(5_000_000, np.float32))

    wait_for(lambda: receiver._inbox)
    assert receiver.drain(1, 5_000_000)[0].sum() == 5_000_000


def test_weights_that_would_spoil_the_own_ones_are_refused(make_exchanges: Any) -> None:
    nodes, (diverged, other, receiver) = make_exchanges(3, "broadcast")

    diverged.publish(1, vector(1, float("nan")))
    wait_for(lambda: receiver.stats.refused == 1)
    other.publish(1, vector(1, 2, 3))
    wait_for(lambda: receiver._inbox)

    assert receiver.drain(1, 2) == []
    assert (receiver.stats.refused, receiver.stats.used) == (2, 0)
    diverged.publish(2, vector(3, 4))
    wait_for(lambda: receiver._inbox)
    assert [array.tolist() for array in receiver.drain(2, 2)] == [[3, 4]]
    nodes[0].call(2, "snapshot", nodes[0].message(3, vector(5, 6)))
    with pytest.raises(PeerLostError, match="Process 7 is not a peer of 2"):
        nodes[0].call(2, "snapshot", Message(0, 7, 3, vector(5, 6)))
    assert set(receiver._inbox) == {0}
