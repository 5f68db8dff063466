"""A team over gRPC: the chief keeps a numbered list of arrays, members fetch them one by one.

The chief never waits for a member, except at the start, for a sum, and at the end. Whoever waits
asks again and again, so that a process that ended is noticed; a process that answers may take
as long as it wants.
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
"""Silence after which a process counts as lost."""

_CHIEF = 0
_POLL_S = 0.5
_PING_TIMEOUT_S = 2.0

_log = logging.getLogger(__name__)


class PeerGroup:
    """The members of a team, of which each may be steps ahead of the others; see ``Team``.

    Args:
        node: Not yet started.
        timeout_s: Silence after which a peer counts as lost.
        start_timeout_s: Longest wait for all to come up.
    """

    def __init__(
        self, node: PeerNode, *, timeout_s: float = TIMEOUT_S, start_timeout_s: float = 300.0
    ) -> None:
        self.is_chief = node.position == _CHIEF
        self.size = node.size
        self.lost: set[int] = set()
        self._node = node
        self._timeout_s = timeout_s
        self._start_timeout_s = start_timeout_s
        self._number = 0
        self._changed = threading.Condition()
        self._lives: dict[int, int] = {}
        self._published: dict[int, bytes] = {}
        self._wanted = dict.fromkeys(node.others, 0)
        self._given: dict[int, dict[int, np.ndarray]] = {}
        self._left: set[int] = set()
        self._closing = False
        if self.is_chief:
            node.session = secrets.randbits(62) + 1
            node.on("join", self._on_join, outside_session=True)
            node.on("fetch", self._on_fetch)
            node.on("give", self._on_give)
            node.on("leave", self._on_leave)
        else:
            node.on("ping", lambda _: None)

    def start(self) -> None:
        """Waits until every member is there.

        Raises:
            PeerLostError: One does not come.
        """
        if not self.is_chief:
            life = self._node.message(secrets.randbits(62))
            reply = self._ask_chief("join", life, self._start_timeout_s)
            assert reply is not None
            self._node.session = reply.session
            return
        with self._changed:
            self._changed.wait_for(lambda: len(self._lives) == self.size - 1, self._start_timeout_s)
            missing = [peer for peer in self._node.others if peer not in self._lives]
        if missing:
            raise PeerLostError(
                f"{', '.join(map(self._node.name, missing))} did not come up within "
                f"{self._start_timeout_s:g} s."
            )

    def broadcast(self, values: Sequence[float]) -> list[float]:
        """Returns the chief's values; see ``Team``.

        Raises:
            PeerLostError: The chief is gone.
        """
        return self.share(np.asarray(values, np.float64)).tolist()

    def share(self, array: np.ndarray) -> np.ndarray:
        """Returns the chief's array, on every member.

        Args:
            array: ``[size]``, of the same size everywhere; read on the chief only.

        Raises:
            PeerLostError: The chief is gone, or has an array of another size.
        """
        number = self._next()
        return self._publish(number, array) if self.is_chief else self._fetch(number, array.size)

    def total(self, array: np.ndarray) -> np.ndarray:
        """Returns the sum over all members that still answer; waits for the slowest of them.

        Args:
            array: ``[size]``, of the same size everywhere.

        Raises:
            PeerLostError: The chief is gone, or has an array of another size.
        """
        number = self._next()
        if not self.is_chief:
            self._ask_chief("give", self._node.message(number, array), self._timeout_s)
            return self._fetch(number, array.size)
        # A member that wants the sum and gave nothing would be waited for in vain.
        self._await(
            lambda peer: peer in self._given.get(number, {}) or self._wanted[peer] >= number
        )
        with self._changed:
            given = self._given.pop(number, {})
        for peer in self._node.others:
            if peer not in given and peer not in self.lost:
                self._lose(peer)
        result = array.copy()
        for part in given.values():
            result += part
        return self._publish(number, result)

    def close(self) -> None:
        """Leaves the team; the chief waits until the others have fetched what they need."""
        if not self.is_chief:
            with contextlib.suppress(PeerLostError):  # The chief may have left before.
                self._node.call(_CHIEF, "leave", self._node.message(), _PING_TIMEOUT_S)
            return
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if len(self._lives) == self.size - 1:
            self._await(lambda _: False, longest_s=self._timeout_s)

    def _next(self) -> int:
        self._number += 1
        return self._number

    # What members do.

    def _ask_chief(self, method: str, message: Message, timeout_s: float) -> Message | None:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return self._node.call(_CHIEF, method, message)
            except UnreachableError as error:
                if time.monotonic() > deadline:
                    raise PeerLostError(
                        f"{error} Waited {timeout_s:g} s; the training goes on from its last "
                        "checkpoint when the team is started again."
                    ) from None
                time.sleep(_POLL_S / 2)

    def _fetch(self, number: int, size: int) -> np.ndarray:
        message = self._node.message(number)
        while (reply := self._ask_chief("fetch", message, self._timeout_s)) is None:
            pass
        if reply.array.size != size:
            raise PeerLostError(
                f"The chief has {reply.array.size} values where this member has {size}: their "
                "models or options differ."
            )
        return reply.array

    # What the chief does.

    def _publish(self, number: int, array: np.ndarray) -> np.ndarray:
        data = self._node.message(number, array).to_bytes()
        with self._changed:
            self._published[number] = data
            self._forget()
            self._changed.notify_all()
        return array

    def _forget(self) -> None:
        """Drops what everybody has fetched: who wants a number has those before."""
        slowest = min((self._wanted[peer] for peer in self._living()), default=self._number)
        for number in [number for number in self._published if number < slowest]:
            del self._published[number]

    def _living(self) -> list[int]:
        return [peer for peer in self._node.others if peer not in self.lost | self._left]

    def _await(self, arrived: Callable[[int], bool], longest_s: float = float("inf")) -> None:
        """Waits until all living members have arrived, or are found to be gone."""
        end = time.monotonic() + longest_s
        heard: dict[int, float] = {}
        while time.monotonic() < end:
            with self._changed:
                if self._changed.wait_for(lambda: all(map(arrived, self._living())), _POLL_S):
                    return
                missing = [peer for peer in self._living() if not arrived(peer)]
            for peer in missing:
                silence_s = time.monotonic() - heard.setdefault(peer, time.monotonic())
                try:
                    self._node.call(peer, "ping", self._node.message(), _PING_TIMEOUT_S)
                    heard[peer] = time.monotonic()
                except UnreachableError:
                    if silence_s > self._timeout_s:
                        self._lose(peer)
                except PeerLostError:
                    self._lose(peer)

    def _lose(self, peer: int) -> None:
        _log.warning(
            "Lost %s: the others go on without its share of the examples.", self._node.name(peer)
        )
        with self._changed:
            self.lost.add(peer)

    # What the chief answers, in threads of its server.

    def _on_join(self, message: Message) -> Message:
        with self._changed:
            if self._lives.setdefault(message.sender, message.number) != message.number:
                raise PeerLostError(
                    f"Only {self._node.name(message.sender)} was started again; the whole team "
                    "has to be."
                )
            self._changed.notify_all()
        return self._node.message()

    def _on_fetch(self, message: Message) -> bytes | None:
        number = message.number

        def ready() -> bool:
            return number in self._published or self._closing

        with self._changed:
            self._refuse_lost(message.sender)
            self._wanted[message.sender] = number
            self._changed.wait_for(ready, _POLL_S)
            if self._closing and number not in self._published:
                raise PeerLostError("The chief has ended the training.")
            return self._published.get(number)

    def _on_give(self, message: Message) -> None:
        with self._changed:
            self._refuse_lost(message.sender)
            self._given.setdefault(message.number, {})[message.sender] = message.array
            self._changed.notify_all()

    def _on_leave(self, message: Message) -> None:
        with self._changed:
            self._left.add(message.sender)
            self._changed.notify_all()

    def _refuse_lost(self, sender: int) -> None:
        if sender in self.lost:
            raise PeerLostError("This member was silent for too long; the others went on.")
