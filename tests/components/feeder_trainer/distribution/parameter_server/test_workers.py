"""Waiting for the results of workers, some of which never come."""

import threading
from typing import Any

import pytest
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.distribution.parameter_server import workers
from tfx_feeder.components.feeder_trainer.distribution.parameter_server.workers import (
    WorkerLostError,
    WorkerPool,
)

ADDRESSES = ("a:1", "b:1")
TIMEOUT_S = 0.5


class Coordinator:
    """Waits forever for a result, as that of TensorFlow may after the failure of a worker."""

    def __init__(self, strategy: Any) -> None:
        self.ended = threading.Event()

    def schedule(self, function: Any, args: Any) -> "Coordinator":
        return self

    def get(self) -> str:
        self.ended.wait()
        return "result"


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> WorkerPool:
    monkeypatch.setattr(tf.distribute.coordinator, "ClusterCoordinator", Coordinator)
    monkeypatch.setattr(workers, "_POLL_S", 0.05)
    return WorkerPool(None, ADDRESSES, timeout_s=TIMEOUT_S)  # pyright: ignore[reportArgumentType]


def _is_reachable_but(lost: set[str]) -> Any:
    return lambda address: address not in lost


def test_a_call_that_is_lost_with_its_worker_ends_the_training(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = {"b:1"}
    monkeypatch.setattr(workers, "is_reachable", _is_reachable_but(lost))
    threading.Timer(0.1, lost.clear).start()  # The worker comes back, its result does not.

    pool.submit("key", len)
    with pytest.raises(WorkerLostError, match="after a worker failed"):
        pool.result()


def test_a_call_may_take_long_while_no_worker_fails(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "is_reachable", _is_reachable_but(set()))
    coordinator: Any = pool._coordinator
    threading.Timer(3 * TIMEOUT_S, coordinator.ended.set).start()

    pool.submit("key", len)

    assert pool.result() == ("key", "result")
