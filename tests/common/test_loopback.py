"""Servers on the wildcard address that only this machine reaches."""

import contextlib
import os
import socket
from typing import Any

import pytest

from tests.listeners import listeners
from tfx_feeder.common import loopback
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.loopback import is_loopback, loopback_port


def listen_like_grpc(port: int) -> socket.socket:
    server = socket.socket(socket.AF_INET6)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    server.bind(("::", port))
    server.listen()
    return server


def answers(port: int, host: str, server: socket.socket) -> bool:
    """Returns True if a server accepts a connection to an address of this machine."""
    try:
        with socket.create_connection((host, port), timeout=0.3):
            server.settimeout(5)
            server.accept()[0].close()
            return True
    except OSError:
        return False


@pytest.fixture
def other_address() -> str:
    """Returns an address of this machine on another interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        with contextlib.suppress(OSError):
            probe.connect(("192.0.2.1", 9))  # Selects an interface; nothing is sent.
        address = probe.getsockname()[0]
    if is_loopback(address) or address == "0.0.0.0":
        pytest.skip("This machine has the loopback interface only.")
    return address


def test_a_server_accepts_this_machine_only_from_its_start_on(other_address: str) -> None:
    with loopback_port() as port, listen_like_grpc(port) as server:
        assert [answers(port, host, server) for host in ("127.0.0.1", "::1")] == [True, True]

    with loopback_port() as port:
        server = listen_like_grpc(port)
    with server:
        assert listeners([os.getpid()]).count(f"lo [::]:{port}") == 1
        assert f"[::]:{port}" not in listeners([os.getpid()])
        assert [answers(port, host, server) for host in ("127.0.0.1", "::1")] == [True, True]
        assert not answers(port, other_address, server)


def test_packets_of_another_interface_go_to_the_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    load, compare, *rest = loopback._IS_FROM_LOOPBACK
    elsewhere = (load, (*compare[:3], 2), *rest)
    monkeypatch.setattr(loopback, "_IS_FROM_LOOPBACK", elsewhere)

    with loopback_port() as port, listen_like_grpc(port) as server:
        assert not answers(port, "127.0.0.1", server)


def test_the_guard_stays_where_a_socket_cannot_be_bound_to_an_interface(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setsockopt = socket.socket.setsockopt

    def denied(self: socket.socket, level: int, option: int, *value: Any) -> None:
        if option == socket.SO_BINDTODEVICE:
            raise PermissionError
        setsockopt(self, level, option, *value)

    monkeypatch.setattr(socket.socket, "setsockopt", denied)
    with loopback_port() as port:
        server = listen_like_grpc(port)

    with server:
        assert answers(port, "127.0.0.1", server)
        assert listeners([os.getpid()]).count(f"[::]:{port}") == 2


def test_a_port_of_another_server_is_refused() -> None:
    with loopback_port() as port, pytest.raises(OSError, match="in use"), loopback_port(port):
        pass
    with (
        listen_like_grpc(0) as server,
        pytest.raises(OSError, match="in use"),
        loopback_port(server.getsockname()[1]),
    ):
        pass


def test_a_port_is_free_again_after_its_server() -> None:
    with loopback_port() as port:
        server = listen_like_grpc(port)
    with server, socket.create_connection(("127.0.0.1", port)), server.accept()[0]:
        pass

    with loopback_port(port):
        pass


def test_a_system_that_cannot_restrict_a_port_names_the_options_that_listen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loopback, "_SO_ATTACH_REUSEPORT_CBPF", 9999)

    expected = r"cluster='env'.*service='grpc://host:port'"
    with pytest.raises(ConfigError, match=expected), loopback_port():
        pass


def test_without_ipv6_the_wildcard_address_of_ipv4_is_guarded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loopback, "_has_ipv6", lambda: False)

    with loopback_port() as port, socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("0.0.0.0", port))
        server.listen()
        assert answers(port, "127.0.0.1", server)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "chief.localhost.example", ""])
def test_other_hosts_are_no_loopback(host: str) -> None:
    assert not is_loopback(host)
