"""Process group of peers, with real servers on this machine and without TensorFlow."""

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
    Message,
    PeerLostError,
    PeerNode,
    UnreachableError,
)

LONG_S = 30.0


@pytest.fixture
def make_groups(make_nodes: Any, closing: contextlib.ExitStack) -> Callable[..., list[PeerGroup]]:
    def make(count: int, timeout_s: float = LONG_S) -> list[PeerGroup]:
        groups = [PeerGroup(node, timeout_s=timeout_s) for node in make_nodes(count)]
        for group in groups:
            group._node.start()
        side_by_side(groups, lambda group: group.start())
        return groups

    return make


def side_by_side(groups: list[Any], run: Callable[[Any], Any]) -> list[Any]:
    """Runs a function for each worker in a separate thread."""
    with ThreadPoolExecutor(len(groups)) as pool:
        return list(pool.map(run, groups, timeout=LONG_S))


def vector(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_broadcast_returns_the_values_of_the_chief_on_every_worker(make_groups: Any) -> None:
    groups = make_groups(3)

    answers = side_by_side(
        groups, lambda group: [group.broadcast([group.is_chief, k]) for k in range(4)]
    )

    assert answers == [[[1, k] for k in range(4)]] * 3


def test_the_chief_does_not_wait_for_the_workers_in_a_broadcast(make_groups: Any) -> None:
    chief, worker = make_groups(2)

    for k in range(5):
        chief.broadcast([k])

    assert [worker.broadcast([-1]) for _ in range(5)] == [[k] for k in range(5)]
    chief.broadcast([5])
    assert worker.broadcast([-1]) == [5]
    assert len(chief._published) <= 2  # Values that all workers have fetched are dropped.


def test_all_reduce_sum_is_the_sum_over_all(make_groups: Any) -> None:
    groups = make_groups(3)

    totals = side_by_side(groups, lambda group: group.all_reduce_sum(vector(1, group._node.rank)))

    assert [total.tolist() for total in totals] == [[3, 3]] * 3


def test_all_reduce_sum_continues_without_a_failed_worker(make_groups: Any) -> None:
    groups = make_groups(3, timeout_s=1)
    groups[1]._node.close()

    totals = side_by_side([groups[0], groups[2]], lambda group: group.all_reduce_sum(vector(1)))

    assert [total.tolist() for total in totals] == [[2], [2]]
    assert groups[0].failed == {1}


def test_all_reduce_sum_continues_without_a_worker_that_left(make_groups: Any) -> None:
    chief, worker, leaver = make_groups(3)
    leaver.close()

    totals = side_by_side([chief, worker], lambda group: group.all_reduce_sum(vector(1)))

    assert [total.tolist() for total in totals] == [[2], [2]]
    assert chief.failed == {2}


def test_a_slow_worker_is_waited_for_while_it_responds(make_groups: Any) -> None:
    groups = make_groups(2, timeout_s=1)

    def late(group: PeerGroup) -> list[float]:
        time.sleep(0 if group.is_chief else 3)
        return group.all_reduce_sum(vector(1)).tolist()

    assert side_by_side(groups, late) == [[2], [2]]


def test_a_worker_detects_the_failure_of_the_chief(make_groups: Any) -> None:
    chief, worker = make_groups(2, timeout_s=1)
    chief._node.close()

    with pytest.raises(PeerLostError, match="the chief at localhost"):
        worker.broadcast([1])


def test_a_chief_that_exits_early_notifies_the_workers(make_groups: Any) -> None:
    chief, worker = make_groups(2)

    def leave(group: PeerGroup) -> None:
        if not group.is_chief:
            with pytest.raises(PeerLostError, match="ended"):
                worker.broadcast([1])
        group.close()

    side_by_side([chief, worker], leave)


def test_the_chief_exits_after_the_workers_have_fetched_all_values(make_groups: Any) -> None:
    chief, worker = make_groups(2)
    chief.broadcast([42])
    leaving = threading.Thread(target=chief.close)
    leaving.start()

    assert worker.broadcast([0]) == [42]
    assert leaving.is_alive()
    worker.close()
    leaving.join(LONG_S)
    assert not leaving.is_alive()


def test_workers_with_different_models_are_rejected(make_groups: Any) -> None:
    chief, worker = make_groups(2)
    chief.broadcast_array(vector(1, 2, 3))

    with pytest.raises(PeerLostError, match="3 values, but this worker has 2"):
        worker.broadcast_array(vector(1, 2))


def test_a_sum_over_different_models_names_the_worker(make_groups: Any) -> None:
    chief, worker = make_groups(2, timeout_s=1)

    def add() -> None:
        with pytest.raises(PeerLostError):
            worker.all_reduce_sum(vector(1, 2))

    adding = threading.Thread(target=add)
    adding.start()

    with pytest.raises(PeerLostError, match=r"worker 1 at .* has 2 values, but the chief has 3"):
        chief.all_reduce_sum(vector(1, 2, 3))
    chief._node.close()
    adding.join(LONG_S)


def test_a_stranger_does_not_count_as_a_worker_that_joined(make_nodes: Any) -> None:
    chief, _, other = make_nodes(3)
    group = PeerGroup(chief, start_timeout_s=0.5)
    chief.start()
    for rank in (2, 3, 999):
        with contextlib.suppress(PeerLostError):
            other.call(0, "join", Message(0, rank, 1))

    with pytest.raises(PeerLostError, match=r"^worker 1 at localhost:\d+ did not start"):
        group.start()


def test_a_single_restarted_worker_is_rejected(make_groups: Any) -> None:
    _, worker = make_groups(2)
    address = worker._node._addresses
    worker._node.close()
    again = PeerNode(address, 1)
    try:
        with pytest.raises(PeerLostError, match="Only worker 1"):
            PeerGroup(again).start()
    finally:
        again.close()


def test_a_missing_worker_is_named(make_nodes: Any) -> None:
    chief, _ = make_nodes(2)
    group = PeerGroup(chief, start_timeout_s=0.2)
    chief.start()

    with pytest.raises(PeerLostError, match="worker 1 at localhost"):
        group.start()


def test_workers_may_start_before_the_chief(make_nodes: Any) -> None:
    nodes = make_nodes(2)
    groups = [PeerGroup(node) for node in nodes]
    nodes[1].start()
    with pytest.raises(UnreachableError):
        nodes[1].call(0, "join", nodes[1].message(), 0.2)
    waiting = threading.Thread(target=groups[1].start)
    waiting.start()

    nodes[0].start()
    groups[0].start()

    waiting.join(LONG_S)
    assert nodes[1].session == nodes[0].session != 0


WORKER = """
import sys, time
import numpy as np
from tfx_feeder.components.feeder_trainer.distribution.peer_averaging.node import PeerNode
from tfx_feeder.components.feeder_trainer.distribution.peer_averaging.group import PeerGroup

node = PeerNode(sys.argv[2:], int(sys.argv[1]))
group = PeerGroup(node, timeout_s=1)
node.start()
group.start()
while True:
    print(group.all_reduce_sum(np.ones(1, np.float32)).tolist(), flush=True)
"""


def run_workers(ranks: range, where: list[str]) -> list["subprocess.Popen[str]"]:
    return [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), *where],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ranks
    ]


@pytest.mark.multi_worker
@pytest.mark.parametrize("victim", [0, 2])
def test_killed_processes(victim: int, closing: contextlib.ExitStack) -> None:
    processes = run_workers(range(3), free_addresses(3))
    for process in processes:
        closing.callback(process.communicate)
        closing.callback(process.kill)
    chief, worker = processes[0], processes[1]
    assert chief.stdout is not None
    assert worker.stdout is not None
    assert chief.stdout.readline() == "[3.0]\n"

    processes[victim].send_signal(signal.SIGKILL)

    if victim:
        wait_for(lambda: chief.stdout and chief.stdout.readline() == "[2.0]\n")
        wait_for(lambda: worker.stdout and worker.stdout.readline() == "[2.0]\n")
    else:
        _, errors = worker.communicate(timeout=LONG_S)
        assert "PeerLostError: the chief at" in errors
