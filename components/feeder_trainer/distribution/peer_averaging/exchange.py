"""Asynchronous exchange of weight snapshots between peers, in background threads.

Each process keeps at most one outgoing and one incoming snapshot per peer. A newer snapshot
replaces an older one that has not been sent or used yet, so no queue builds up, neither for a slow
peer nor at a slow receiver.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfx_feeder.components.feeder_trainer.distribution.peer_averaging.node import (
    Message,
    PeerLostError,
    PeerNode,
)

_log = logging.getLogger(__name__)

_AVOID_S = 5.0
"""Time for which a ring bypasses an unreachable peer."""


@dataclass(frozen=True, slots=True)
class ExchangeStats:
    """Statistics of the exchange.

    Args:
        mean_staleness: Mean staleness of the snapshots used: own step minus the sender's step, in
            steps; negative if the peers are ahead.
        max_staleness: Maximum staleness.
        used: Number of snapshots averaged in.
        dropped: Number of snapshots replaced by a newer one before they were sent or used.
        failed: Number of snapshots that did not reach their peer.
        refused: Number of snapshots that were not averaged in, because their values were not finite
            or those of another model.
    """

    mean_staleness: float = 0.0
    max_staleness: int = 0
    used: int = 0
    dropped: int = 0
    failed: int = 0
    refused: int = 0


class Exchange:
    """Sends the newest snapshots of this node and holds the newest of its peers.

    Args:
        node: Node that has not been started.
        pattern: ``"broadcast"``: send to all peers. ``"ring"``: send to the next peer, or the one
            after it while that is unreachable.
    """

    def __init__(self, node: PeerNode, pattern: str) -> None:
        self._pattern = pattern
        self._lock = threading.Lock()
        self._inbox: dict[int, Message] = {}
        self._overwritten = 0
        self._used = 0
        self._total_staleness = 0
        self._max_staleness: int | None = None
        self._refused = 0
        self._node = node
        successors = [(node.rank + step) % node.size for step in range(1, node.size)]
        self._outboxes = [_Outbox(node, peer) for peer in successors]
        node.register_handler("snapshot", self._on_snapshot)

    def publish(self, step: int, array: np.ndarray) -> None:
        """Hands a snapshot to the sender threads; returns immediately.

        Args:
            step: Step after which the snapshot was taken.
            array: Snapshot, ``[size]``; must not change any more.
        """
        if self._pattern == "broadcast":
            receivers = self._outboxes
        else:
            reachable = [box for box in self._outboxes if not box.is_avoided]
            receivers = (reachable or self._outboxes)[:1]
        for box in receivers:
            box.put(step, array)

    def drain(self, step: int, size: int) -> list[np.ndarray]:
        """Returns the newest unused snapshot of each peer.

        Args:
            step: Own step, from which the staleness is measured.
            size: Size of the own snapshots; others are refused.
        """
        with self._lock:
            messages, self._inbox = list(self._inbox.values()), {}
        for message in messages:
            if message.array.size != size:
                self._refuse(message, f"of {message.array.size} values instead of {size}")
        messages = [message for message in messages if message.array.size == size]
        for message in messages:
            staleness = step - message.number
            self._used += 1
            self._total_staleness += staleness
            known = self._max_staleness
            self._max_staleness = staleness if known is None else max(staleness, known)
        return [message.array for message in messages]

    def clear(self) -> None:
        """Drops the received snapshots."""
        with self._lock:
            self._overwritten += len(self._inbox)
            self._inbox = {}

    @property
    def stats(self) -> ExchangeStats:
        """Statistics so far."""
        return ExchangeStats(
            mean_staleness=self._total_staleness / self._used if self._used else 0.0,
            max_staleness=self._max_staleness or 0,
            used=self._used,
            dropped=self._overwritten + sum(box.dropped for box in self._outboxes),
            failed=sum(box.failed for box in self._outboxes),
            refused=self._refused,
        )

    def close(self) -> None:
        """Stops sending."""
        for box in self._outboxes:
            box.close()

    def _on_snapshot(self, message: Message) -> None:
        # A peer whose training diverged must not spoil the weights of all.
        if not np.isfinite(message.array).all():
            self._refuse(message, "that are not finite")
            return
        with self._lock:
            self._overwritten += message.sender in self._inbox
            self._inbox[message.sender] = message

    def _refuse(self, message: Message, reason: str) -> None:
        if not self._refused:
            _log.warning(
                "Weights %s from %s were refused.", reason, self._node.name(message.sender)
            )
        self._refused += 1


class _Outbox:
    """Outgoing snapshot of one peer, and the thread that sends it."""

    def __init__(self, node: PeerNode, peer: int) -> None:
        self.dropped = 0
        self.failed = 0
        self._node = node
        self._peer = peer
        self._avoided_until_s = 0.0
        self._changed = threading.Condition()
        self._snapshot: tuple[int, np.ndarray] | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._send, name=f"to peer {peer}", daemon=True)
        self._thread.start()

    @property
    def is_avoided(self) -> bool:
        """True if the peer was unreachable a moment ago."""
        return time.monotonic() < self._avoided_until_s

    def put(self, step: int, array: np.ndarray) -> None:
        with self._changed:
            self.dropped += self._snapshot is not None
            self._snapshot = (step, array)
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _send(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._snapshot is not None or self._closed)
                if self._closed or self._snapshot is None:
                    return
                snapshot, self._snapshot = self._snapshot, None
            try:
                self._node.call(self._peer, "snapshot", self._node.message(*snapshot))
            except PeerLostError:
                self.failed += 1
                self._avoided_until_s = time.monotonic() + _AVOID_S


def mean(own: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the elementwise mean of the own array and others.

    Args:
        own: Own array, ``[size]``; not modified.
        others: Any number of arrays of the same shape.
    """
    if not others:
        return own
    result = own.copy()
    for other in others:
        result += other
    result /= len(others) + 1
    return result
