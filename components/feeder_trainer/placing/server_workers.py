"""The workers of a cluster with parameter servers, as its coordinator sees them."""

import queue
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfx_feeder.components.common.errors import FeederError

TIMEOUT_S = 120.0
"""Time without any worker that answers, after which a training gives up."""

_POLL_S = 0.5
_CONNECT_S = 1.0
_HERE = "/job:chief/replica:0/task:0/device:CPU:0"
_PER_WORKER = 2
"""Calls for each worker: one that runs, and one that is ready when it ends."""


class WorkerLostError(FeederError):
    """A process of the cluster does not answer."""


class Workers:
    """Runs functions on whichever worker is free, a bounded number at a time.

    A worker that goes away while it runs a function makes no difference to the caller: another one
    runs it, and the first is taken back when it answers again at its address. So a function runs
    at least once, and twice where its worker died between its effect and its answer.

    Args:
        strategy: Connected to the cluster.
        addresses: ``host:port`` of each worker.
        timeout_s: Time without any worker that answers, after which ``take`` gives up.
    """

    def __init__(
        self,
        strategy: tf.distribute.experimental.ParameterServerStrategy,
        addresses: Sequence[str],
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.count = len(addresses)
        self.pending = 0
        self._addresses = addresses
        self._timeout_s = timeout_s
        self._coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
        self._results: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()

    @property
    def has_room(self) -> bool:
        """Whether one more call would be run soon."""
        return self.pending < _PER_WORKER * self.count

    def put(self, key: Any, function: Callable[..., Any], *args: Any) -> None:
        """Has a function run by a worker.

        Args:
            key: Comes back with the result.
            function: Compiled.
            *args: Tensors.

        Raises:
            Exception: What an earlier call raised. All calls have ended then.
        """

        def call(*args: Any) -> None:
            # On a thread that sends operations to the worker. A loss while the result is fetched is
            # one of the call, which is then run again; a waiting RemoteValue would raise it.
            result = function(*args)
            with tf.device(_HERE):
                local = tf.nest.map_structure(tf.identity, result, expand_composites=True)
            self._results.put((key, local))

        try:
            self._coordinator.schedule(call, args)
        except Exception:
            self._forget()
            raise
        self.pending += 1

    def take(self) -> tuple[Any, Any]:
        """Waits for a result; returns the key of the call, and the result as local tensors.

        Raises:
            WorkerLostError: No worker answers.
            Exception: What a call raised. All calls have ended then.
        """
        answered = time.monotonic()
        while True:
            try:
                result = self._results.get(timeout=_POLL_S)
            except queue.Empty:
                self._check_failed()
                if any(map(is_answering, self._addresses)):
                    answered = time.monotonic()
                elif time.monotonic() - answered > self._timeout_s:
                    raise WorkerLostError(
                        f"None of the workers {', '.join(self._addresses)} has answered for "
                        f"{self._timeout_s:.0f} seconds. Start one at its address, or the training "
                        "anew: it goes on from its checkpoint."
                    ) from None
            else:
                self.pending -= 1
                return result

    def _check_failed(self) -> None:
        try:
            self._coordinator.done()
        except Exception:
            self._forget()
            raise

    def _forget(self) -> None:
        """Makes ready for new calls: after the first that fails, the coordinator ends the rest."""
        while not self._results.empty():
            self._results.get()
        self.pending = 0


def await_servers(addresses: Sequence[str], timeout_s: float) -> None:
    """Waits until something listens at each address.

    Raises:
        WorkerLostError: It does not.
    """
    deadline = time.monotonic() + timeout_s
    missing = list(addresses)
    while missing := [address for address in missing if not is_answering(address)]:
        if time.monotonic() > deadline:
            raise WorkerLostError(
                f"Nobody listens at {', '.join(missing)} after {timeout_s:.0f} seconds. Start "
                "`tfx-feeder worker` there."
            )
        time.sleep(_POLL_S)


def is_answering(address: str) -> bool:
    """Says whether something listens at ``host:port``."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=_CONNECT_S):
            return True
    except OSError:
        return False
