"""The workers of a cluster with parameter servers, as its coordinator sees them."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfx_feeder.common.errors import FeederError
from tfx_feeder.components.feeder_trainer.distribution.addresses import is_answering

TIMEOUT_S = 120.0
"""Time without any worker that answers, after which a training gives up."""

START_TIMEOUT_S = 300.0
"""Longest wait for all servers to come up."""

_POLL_S = 0.5
_RERUN_S = 0.1
_PER_WORKER = 2
"""Calls for each worker: one that runs, and one that is ready when it ends."""


class WorkerLostError(FeederError):
    """A process of the cluster does not answer."""


class WorkerPool:
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
        self._running: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[tuple[Any, Any, Exception | None]] = queue.SimpleQueue()
        for _ in range(_PER_WORKER * self.count):
            # A result can only be waited for, and each should be seen as soon as it is there.
            threading.Thread(target=self._wait, daemon=True).start()

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
        try:
            remote = self._coordinator.schedule(function, args)
        except Exception:
            self._forget()
            raise
        self._running.put((key, remote))
        self.pending += 1

    def take(self) -> tuple[Any, Any]:
        """Waits for a result; returns the key of the call, and the result as local tensors.

        Raises:
            WorkerLostError: No worker answers.
            Exception: What a call raised. All calls have ended then.
        """
        key, result, error = self._next()
        if error is not None:
            self._forget()
            raise error
        return key, result

    def _next(self) -> tuple[Any, Any, Exception | None]:
        answered = time.monotonic()
        while True:
            try:
                ended = self._ended.get(timeout=_POLL_S)
            except queue.Empty:
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
                return ended

    def _wait(self) -> None:
        while True:
            key, remote = self._running.get()
            self._ended.put((key, *_result(remote)))

    def _forget(self) -> None:
        """Makes ready for new calls after one has failed."""
        while self.pending:
            self._next()
        with contextlib.suppress(Exception):
            self._coordinator.done()  # It would raise the same once more.


def _result(remote: Any) -> tuple[Any, Exception | None]:
    """Waits for a call; returns its result, or what it raised."""
    last: Exception | None = None
    while True:
        try:
            return remote.get(), None
        except Exception as error:
            # What the call raised is the same whenever it is asked for. Another one each time says
            # that the result was lost with its worker; then the call is about to be run again.
            if error is last:
                return None, error
            last = error
            time.sleep(_RERUN_S)


def wait_for_servers(addresses: Sequence[str], timeout_s: float = START_TIMEOUT_S) -> None:
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
