"""Process group over gRPC: the chief keeps a numbered list of arrays, and its peers fetch them.

The chief waits for its peers at the start, for a sum, and at the end only. A waiting process polls,
which detects a process that has exited; a process that still responds may take any time.
"""

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from tfx_feeder.components.feeder_trainer.distribution.peer_averaging.node import (
    Message,
    PeerLostError,
    PeerNode,
    UnreachableError,
)

TIMEOUT_S = 30.0
"""Time without a response after which a process counts as failed."""

_CHIEF = 0
_POLL_S = 0.5
_PING_TIMEOUT_S = 2.0

_log = logging.getLogger(__name__)


class PeerGroup:
    """Process group whose processes may be at different steps; see ``ProcessGroup``.

    Args:
        node: Node that has not been started.
        timeout_s: Time without a response after which a peer counts as failed, in seconds.
        start_timeout_s: Maximum wait for all processes to start, in seconds.
    """

    def __init__(
        self, node: PeerNode, *, timeout_s: float = TIMEOUT_S, start_timeout_s: float = 300.0
    ) -> None:
        self.is_chief = node.rank == _CHIEF
        self.size = node.size
        self.failed: set[int] = set()
        self._node = node
        self._timeout_s = timeout_s
        self._start_timeout_s = start_timeout_s
        self._number = 0
        self._changed = threading.Condition()
        self._incarnations: dict[int, int] = {}
        self._published: dict[int, bytes] = {}
        self._requested = dict.fromkeys(node.peers, 0)
        self._contributions: dict[int, dict[int, np.ndarray]] = {}
        self._left: set[int] = set()
        self._closing = False
        if self.is_chief:
            node.session = secrets.randbits(62) + 1
            node.register_handler("join", self._on_join, any_session=True)
            node.register_handler("fetch", self._on_fetch)
            node.register_handler("contribute", self._on_contribute)
            node.register_handler("leave", self._on_leave)
        else:
            node.register_handler("ping", lambda _: None)

    def start(self) -> None:
        """Waits until every process has joined.

        Raises:
            PeerLostError: A process did not join in time.
        """
        if not self.is_chief:
            incarnation = self._node.message(secrets.randbits(62))
            reply = self._call_chief("join", incarnation, self._start_timeout_s)
            assert reply is not None
            self._node.session = reply.session
            return
        with self._changed:
            self._changed.wait_for(
                lambda: self._incarnations.keys() >= set(self._node.peers), self._start_timeout_s
            )
            missing = [peer for peer in self._node.peers if peer not in self._incarnations]
        if missing:
            raise PeerLostError(
                f"{', '.join(map(self._node.name, missing))} did not start within "
                f"{self._start_timeout_s:g} s."
            )

    def broadcast(self, values: Sequence[float]) -> list[float]:
        """Returns the chief's values; see ``ProcessGroup.broadcast``.

        Raises:
            PeerLostError: The chief has failed.
        """
        return self.broadcast_array(np.asarray(values, np.float64)).tolist()

    def broadcast_array(self, array: np.ndarray) -> np.ndarray:
        """Returns the chief's array on every process.

        Args:
            array: Array ``[size]``, of the same size on all processes; only the chief's values
                are read.

        Raises:
            PeerLostError: The chief has failed, or its array has another size.
        """
        number = self._next_number()
        return self._publish(number, array) if self.is_chief else self._fetch(number, array.size)

    def all_reduce_sum(self, array: np.ndarray) -> np.ndarray:
        """Returns the sum over all processes that respond; waits for the slowest of them.

        Args:
            array: Array ``[size]``, of the same size on all processes.

        Raises:
            PeerLostError: The chief has failed, or its array has another size.
        """
        number = self._next_number()
        if not self.is_chief:
            self._call_chief("contribute", self._node.message(number, array), self._timeout_s)
            return self._fetch(number, array.size)
        # A peer that already requests the sum will not contribute to it any more.
        self._wait_for_peers(
            lambda peer: (
                peer in self._contributions.get(number, {}) or self._requested[peer] >= number
            )
        )
        with self._changed:
            contributions = self._contributions.pop(number, {})
        for peer in self._node.peers:
            if peer not in contributions and peer not in self.failed:
                self._mark_failed(peer)
        result = array.copy()
        for peer, part in contributions.items():
            if part.size != result.size:
                raise PeerLostError(
                    f"{self._node.name(peer)} has {part.size} values, but the chief has "
                    f"{result.size}: their models or options differ."
                )
            result += part
        return self._publish(number, result)

    def close(self) -> None:
        """Leaves the group; the chief first waits until its peers have fetched their results."""
        if not self.is_chief:
            with contextlib.suppress(PeerLostError):  # The chief may have exited before.
                self._node.call(_CHIEF, "leave", self._node.message(), _PING_TIMEOUT_S)
            return
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if len(self._incarnations) == self.size - 1:
            self._wait_for_peers(lambda _: False, timeout_s=self._timeout_s)

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    # Calls of the peers.

    def _call_chief(self, method: str, message: Message, timeout_s: float) -> Message | None:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return self._node.call(_CHIEF, method, message)
            except UnreachableError as error:
                if time.monotonic() > deadline:
                    raise PeerLostError(
                        f"{error} Waited {timeout_s:g} s; training resumes from its last "
                        "checkpoint when all workers are restarted."
                    ) from None
                time.sleep(_POLL_S / 2)

    def _fetch(self, number: int, size: int) -> np.ndarray:
        message = self._node.message(number)
        while (reply := self._call_chief("fetch", message, self._timeout_s)) is None:
            pass
        if reply.array.size != size:
            raise PeerLostError(
                f"The chief has {reply.array.size} values, but this worker has {size}: their "
                "models or options differ."
            )
        return reply.array

    # Work of the chief.

    def _publish(self, number: int, array: np.ndarray) -> np.ndarray:
        data = self._node.message(number, array).to_bytes()
        with self._changed:
            self._published[number] = data
            self._discard_fetched()
            self._changed.notify_all()
        return array

    def _discard_fetched(self) -> None:
        """Discards the arrays before the smallest number that any peer still requests."""
        slowest = min((self._requested[peer] for peer in self._active()), default=self._number)
        for number in [number for number in self._published if number < slowest]:
            del self._published[number]

    def _active(self) -> list[int]:
        return [peer for peer in self._node.peers if peer not in self.failed | self._left]

    def _wait_for_peers(
        self, has_arrived: Callable[[int], bool], timeout_s: float = float("inf")
    ) -> None:
        """Waits until all active peers have arrived or failed."""
        end = time.monotonic() + timeout_s
        responded: dict[int, float] = {}
        while time.monotonic() < end:
            with self._changed:
                if self._changed.wait_for(lambda: all(map(has_arrived, self._active())), _POLL_S):
                    return
                missing = [peer for peer in self._active() if not has_arrived(peer)]
            for peer in missing:
                silence_s = time.monotonic() - responded.setdefault(peer, time.monotonic())
                try:
                    self._node.call(peer, "ping", self._node.message(), _PING_TIMEOUT_S)
                    responded[peer] = time.monotonic()
                except UnreachableError:
                    if silence_s > self._timeout_s:
                        self._mark_failed(peer)
                except PeerLostError:
                    self._mark_failed(peer)

    def _mark_failed(self, peer: int) -> None:
        _log.warning(
            "Process failed: %s. Training continues without its shard of the examples.",
            self._node.name(peer),
        )
        with self._changed:
            self.failed.add(peer)

    # Handlers of the chief, called in threads of its server.

    def _on_join(self, message: Message) -> Message:
        with self._changed:
            known = self._incarnations.setdefault(message.sender, message.number)
            if known != message.number:
                raise PeerLostError(
                    f"Only {self._node.name(message.sender)} was restarted; restart all workers."
                )
            self._changed.notify_all()
        return self._node.message()

    def _on_fetch(self, message: Message) -> bytes | None:
        number = message.number

        def is_ready() -> bool:
            return number in self._published or self._closing

        with self._changed:
            self._reject_failed(message.sender)
            self._requested[message.sender] = number
            self._changed.wait_for(is_ready, _POLL_S)
            if self._closing and number not in self._published:
                raise PeerLostError("The chief has ended the training run.")
            return self._published.get(number)

    def _on_contribute(self, message: Message) -> None:
        with self._changed:
            self._reject_failed(message.sender)
            self._contributions.setdefault(message.number, {})[message.sender] = message.array
            self._changed.notify_all()

    def _on_leave(self, message: Message) -> None:
        with self._changed:
            self._left.add(message.sender)
            self._changed.notify_all()

    def _reject_failed(self, sender: int) -> None:
        if sender in self.failed:
            raise PeerLostError("This worker did not respond in time; the others continued.")
