"""Snapshots of weights on their way between peers, beside the training: nobody ever waits.

For each peer there is room for one snapshot on its way out and one that came in. A newer one takes
the place of an older one that was not sent or not used yet, so nothing queues up: not behind a busy
peer, and not behind a busy receiver.
"""

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

_AVOID_S = 5.0
"""How long a ring goes around a peer that could not be reached."""


@dataclass(frozen=True, slots=True)
class ExchangeStats:
    """What the exchange came to.

    Args:
        mean_staleness: Own step less the sender's step, in steps, mean over the snapshots used;
            negative where the peers are ahead.
        max_staleness: The largest of them.
        used: Snapshots that went into an average.
        dropped: Snapshots that a newer one replaced, before they were sent or used.
        failed: Snapshots that did not reach their peer.
    """

    mean_staleness: float = 0.0
    max_staleness: int = 0
    used: int = 0
    dropped: int = 0
    failed: int = 0


class Exchange:
    """Sends the newest snapshots of this node and holds the newest of its peers.

    Args:
        node: Not yet started.
        pattern: ``"broadcast"``: to all peers. ``"ring"``: to the next one, or the one after it
            while that cannot be reached.
    """

    def __init__(self, node: PeerNode, pattern: str) -> None:
        self._pattern = pattern
        self._lock = threading.Lock()
        self._inbox: dict[int, Message] = {}
        self._overwritten = 0
        self._used = 0
        self._total_staleness = 0
        self._max_staleness: int | None = None
        after = [(node.position + step) % node.size for step in range(1, node.size)]
        self._outboxes = [_Outbox(node, peer) for peer in after]
        node.on("snapshot", self._on_snapshot)

    def offer(self, step: int, array: np.ndarray) -> None:
        """Gives a snapshot to those who send it, and returns at once.

        Args:
            step: After which it was taken.
            array: ``[size]``; must not change any more.
        """
        if self._pattern == "broadcast":
            receivers = self._outboxes
        else:
            reachable = [box for box in self._outboxes if not box.is_avoided]
            receivers = (reachable or self._outboxes)[:1]
        for box in receivers:
            box.put(step, array)

    def take(self, step: int) -> list[np.ndarray]:
        """Returns the newest snapshot of each peer that has not been taken yet.

        Args:
            step: The own one, by which the staleness is told.
        """
        with self._lock:
            messages, self._inbox = list(self._inbox.values()), {}
        for message in messages:
            staleness = step - message.number
            self._used += 1
            self._total_staleness += staleness
            known = self._max_staleness
            self._max_staleness = staleness if known is None else max(staleness, known)
        return [message.array for message in messages]

    def clear(self) -> None:
        """Drops what has come in."""
        with self._lock:
            self._overwritten += len(self._inbox)
            self._inbox = {}

    @property
    def figures(self) -> ExchangeStats:
        """What the exchange came to so far."""
        return ExchangeStats(
            mean_staleness=self._total_staleness / self._used if self._used else 0.0,
            max_staleness=self._max_staleness or 0,
            used=self._used,
            dropped=self._overwritten + sum(box.dropped for box in self._outboxes),
            failed=sum(box.failed for box in self._outboxes),
        )

    def close(self) -> None:
        """Stops sending."""
        for box in self._outboxes:
            box.close()

    def _on_snapshot(self, message: Message) -> None:
        with self._lock:
            self._overwritten += message.sender in self._inbox
            self._inbox[message.sender] = message


class _Outbox:
    """One snapshot on its way to one peer, and a thread that sends it."""

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
        """Says whether the peer could not be reached a moment ago."""
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
    """Returns the mean of the own array and those of others.

    Args:
        own: ``[size]``; not changed.
        others: As large, any number of them.
    """
    if not others:
        return own
    result = own.copy()
    for other in others:
        result += other
    result /= len(others) + 1
    return result
