"""Pool of the workers of a cluster with parameter servers, as its coordinator uses them."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfx_feeder.common.errors import FeederError
from tfx_feeder.components.feeder_trainer.distribution.cluster import is_reachable

TIMEOUT_S = 120.0
"""Time without any reachable worker after which a training run fails."""

START_TIMEOUT_S = 300.0
"""Maximum wait for all servers to start."""

_POLL_S = 0.5
_RERUN_S = 0.1
_CALLS_PER_WORKER = 2
"""Pending calls per worker: a running one, and one that is ready when it ends."""


class WorkerLostError(FeederError):
    """Raised when a process of the cluster is not reachable."""


class WorkerPool:
    """Runs functions on idle workers, with a bounded number of pending calls.

    If a worker fails while it runs a function, another worker runs the function, and the first
    rejoins when it is reachable again at its address. A function therefore runs at least once, and
    twice if its worker failed between its side effects and its answer.

    Args:
        strategy: TensorFlow strategy that is connected to the cluster.
        addresses: Address (``host:port``) of each worker.
        timeout_s: Time after which ``result`` fails, in seconds: without any reachable worker, or
            without any result after a worker failed.
    """

    def __init__(
        self,
        strategy: tf.distribute.experimental.ParameterServerStrategy,
        addresses: Sequence[str],
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.size = len(addresses)
        self.pending = 0
        self._addresses = addresses
        self._timeout_s = timeout_s
        self._reachable = set(addresses)
        self._has_lost_worker = False
        self._coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
        self._running: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._finished: queue.SimpleQueue[tuple[Any, Any, Exception | None]] = queue.SimpleQueue()
        for _ in range(_CALLS_PER_WORKER * self.size):
            # Remote values support blocking reads only; a thread per call sees each immediately.
            threading.Thread(target=self._collect_results, daemon=True).start()

    @property
    def has_capacity(self) -> bool:
        """True if another call would start soon."""
        return self.pending < _CALLS_PER_WORKER * self.size

    def submit(self, key: Any, function: Callable[..., Any], *args: Any) -> None:
        """Schedules a function on a worker.

        Args:
            key: Key that ``result`` returns with the result.
            function: Compiled function.
            *args: Tensors to call the function with.

        Raises:
            Exception: An earlier call raised it; no calls are pending any more.
        """
        try:
            remote = self._coordinator.schedule(function, args)
        except Exception:
            self.discard_pending()
            raise
        self._running.put((key, remote))
        self.pending += 1

    def result(self) -> tuple[Any, Any]:
        """Waits for any call; returns its key, and its result as local tensors.

        Raises:
            WorkerLostError: No worker is reachable, or a call is lost.
            Exception: A call raised it; no calls are pending any more.
        """
        key, result, error = self._next_finished()
        if error is not None:
            self.discard_pending()
            raise error
        return key, result

    def _next_finished(self) -> tuple[Any, Any, Exception | None]:
        began_s = reached_s = time.monotonic()
        while True:
            try:
                finished = self._finished.get(timeout=_POLL_S)
            except queue.Empty:
                now_s = time.monotonic()
                reachable = set(filter(is_reachable, self._addresses))
                self._has_lost_worker |= not self._reachable <= reachable
                self._reachable = reachable
                if reachable:
                    reached_s = now_s
                elif now_s - reached_s > self._timeout_s:
                    raise WorkerLostError(
                        f"None of the workers {', '.join(self._addresses)} was reachable for "
                        f"{self._timeout_s:.0f} seconds. Start one at its address, or restart the "
                        "training: it resumes from its checkpoint."
                    ) from None
                # TensorFlow may wait forever for the result of a worker that failed just before it
                # was copied, whether or not the worker comes back.
                if self._has_lost_worker and now_s - began_s > self._timeout_s:
                    raise WorkerLostError(
                        f"No result came for {self._timeout_s:.0f} seconds after a worker failed. "
                        "Restart the training: it resumes from its checkpoint."
                    ) from None
            else:
                self.pending -= 1
                return finished

    def _collect_results(self) -> None:
        while True:
            key, remote = self._running.get()
            self._finished.put((key, *_wait_for(remote)))

    def discard_pending(self) -> None:
        """Waits for the pending calls and clears the coordinator's error."""
        while self.pending:
            self._next_finished()
        with contextlib.suppress(Exception):
            self._coordinator.done()  # Raises the first error again.


def _wait_for(remote: Any) -> tuple[Any, Exception | None]:
    """Waits for a call; returns its result, or its error."""
    last: Exception | None = None
    while True:
        try:
            return remote.get(), None
        except Exception as error:
            # An error of the call itself is the same object on every read. A new object on each
            # read means that the result was lost with its worker and the call will be rerun.
            if error is last:
                return None, error
            last = error
            time.sleep(_RERUN_S)


def wait_for_servers(addresses: Sequence[str], timeout_s: float = START_TIMEOUT_S) -> None:
    """Waits until a server is reachable at each address.

    Args:
        addresses: Addresses as ``host:port``.
        timeout_s: Maximum wait in seconds.

    Raises:
        WorkerLostError: A server did not come up within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    missing = list(addresses)
    while missing := [address for address in missing if not is_reachable(address)]:
        if time.monotonic() > deadline:
            raise WorkerLostError(
                f"No server is listening at {', '.join(missing)} after {timeout_s:.0f} seconds. "
                "Start `tfx-feeder worker` there."
            )
        time.sleep(_POLL_S)
