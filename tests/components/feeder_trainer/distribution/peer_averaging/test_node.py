"""Messages between peers, and the ports of peer nodes."""

import contextlib
import socket

import numpy as np
import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import free_addresses
from tfx_feeder.components.feeder_trainer.distribution.peer_averaging.node import (
    Message,
    PeerLostError,
    PeerNode,
    UnreachableError,
)


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_message_round_trip(kind: str) -> None:
    message = Message(2**62, 1, 3, np.array([1.5, -2.25], kind))

    copy = Message.from_bytes(message.to_bytes())

    assert copy[:3] == message[:3]
    assert copy.array.dtype == kind
    assert copy.array.tolist() == [1.5, -2.25]


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        address = f"localhost:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=address):
            PeerNode([address], 0)


@pytest.mark.parametrize("kind", ["int64", "object", "U4"])
def test_messages_of_other_types_are_no_messages(kind: str) -> None:
    with pytest.raises(ValueError, match="type"):
        Message.from_bytes(Message(1, 1, 1, np.empty(0, kind)).to_bytes())
    with pytest.raises(ValueError, match="buffer"):
        Message.from_bytes(b"short")


def test_calls_without_the_token_are_refused(closing: contextlib.ExitStack) -> None:
    where = free_addresses(2)
    received = []
    chief = PeerNode(where, 0, "secret")
    chief.register_handler("snapshot", received.append)
    chief.start()
    closing.callback(chief.close)
    nodes = [
        PeerNode([where[0], address], 1, token)
        for address, token in zip(free_addresses(3), ("secret", "guess", ""), strict=True)
    ]
    for node in nodes:
        closing.callback(node.close)
    member, *strangers = nodes

    for stranger in strangers:
        with pytest.raises(PeerLostError, match="token"):
            stranger.call(0, "snapshot", stranger.message(1, np.zeros(10_000_000, np.float32)))
    member.call(0, "snapshot", member.message(2))
    with pytest.raises(UnreachableError):
        member.call(0, "no such method", member.message(3))

    assert [message.number for message in received] == [2]
