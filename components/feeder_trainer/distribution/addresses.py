"""Addresses of processes, as ``host:port``."""

import contextlib
import socket

_CONNECT_S = 1.0


def free_addresses(count: int) -> list[str]:
    """Returns as many different addresses on this machine at which nobody listens now."""
    with contextlib.ExitStack() as sockets:
        # All at once, so that no two are the same.
        held = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in held:
            each.bind(("localhost", 0))
        return [f"localhost:{each.getsockname()[1]}" for each in held]


def is_answering(address: str) -> bool:
    """Says whether something listens at an address."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=_CONNECT_S):
            return True
    except OSError:
        return False
