"""Messages between peers, and the ports of peer nodes."""

import socket

import numpy as np
import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.peer_averaging.node import Message, PeerNode


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
