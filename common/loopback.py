"""Restricts servers that listen on all interfaces to clients on the same machine.

TensorFlow binds the servers of a cluster and of tf.data service to the wildcard address, whatever
address their configuration names. The restriction uses the sockets of the process, so it needs no
privilege, no firewall and no network namespace, and works in a container.
"""

import contextlib
import ctypes
import ipaddress
import os
import socket
import stat
import struct
from collections.abc import Iterator, Sequence

from tfx_feeder.common.errors import ConfigError

_SO_ATTACH_FILTER, _SO_ATTACH_REUSEPORT_CBPF = 26, 51
"""Socket options of Linux that the ``socket`` module does not name."""

_INTERFACE = 0xFFFFF000 + 8
"""Offset at which a packet filter finds the interface (``SKF_AD_OFF + SKF_AD_IFINDEX``)."""

_LOOPBACK = 1
"""Index of the loopback interface in every network namespace (``LOOPBACK_IFINDEX``)."""

_LOAD_WORD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
"""Instructions of the classic Berkeley Packet Filter, as in ``linux/bpf_common.h``."""

_IS_FROM_LOOPBACK = (
    (_LOAD_WORD, 0, 0, _INTERFACE),
    (_IF_EQUAL, 0, 1, _LOOPBACK),
    (_RETURN, 0, 0, 1),
    (_RETURN, 0, 0, 0),
)
"""Program that returns 1 for a packet from this machine and 0 for any other."""

_NOTHING = ((_RETURN, 0, 0, 0),)


def is_loopback(host: str) -> bool:
    """Returns True if a host is a name or an address of the loopback interface.

    Args:
        host: Name or address; an IPv6 address may be in brackets.

    Example:
        >>> [is_loopback(host) for host in ("localhost", "127.0.0.2", "[::1]", "digits-chief-0")]
        [True, True, True, False]
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def loopback_port(port: int = 0) -> Iterator[int]:
    """Restricts servers that this process starts in the context to clients on this machine.

    The servers have to bind the wildcard address of the port with ``SO_REUSEPORT``, as those of
    gRPC do by default.

    While a server starts, a second socket guards its port: the kernel selects among the sockets
    that share a port by a program, which gives every connection from elsewhere to the guard, and
    the guard discards it. Once it has started, the server's sockets are bound to the loopback
    interface. No packet from another machine reaches the server at any time.

    Args:
        port: Port; 0 selects a free one.

    Yields:
        The port.

    Raises:
        ConfigError: The operating system cannot restrict a port.
        OSError: The port is in use.
    """
    guard = _open_guard(port)
    port = guard.getsockname()[1]
    try:
        yield port
    finally:
        if _bind_to_loopback(port, guard):
            guard.close()
        else:
            guard.detach()  # Guards the port until the process exits.


def _open_guard(port: int) -> socket.socket:
    family, wildcard = (socket.AF_INET6, "::") if _has_ipv6() else (socket.AF_INET, "0.0.0.0")
    guard = socket.socket(family)
    try:
        guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            guard.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Not shared yet, so that a port which another process listens on is refused.
        guard.bind((wildcard, port))
        try:
            guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            _attach(guard, _SO_ATTACH_FILTER, _NOTHING)
            # The result is an index: 0 is the guard, which listens first, 1 is the server.
            _attach(guard, _SO_ATTACH_REUSEPORT_CBPF, _IS_FROM_LOOPBACK)
        except OSError as error:
            raise ConfigError(
                "local servers",
                received=f"{os.uname().sysname} {os.uname().release}: {error}",
                expected="Linux 4.5 or newer, which can restrict a port to this machine",
                fix="To listen on the network, set the strategy's cluster='env', with addresses in "
                "TF_CONFIG that other machines can reach, and the feed's "
                "service='grpc://host:port'.",
            ) from error
        guard.listen(1)
    except BaseException:
        guard.close()
        raise
    return guard


def _attach(guard: socket.socket, option: int, program: Sequence[tuple[int, ...]]) -> None:
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    value = struct.pack("HP", len(program), ctypes.addressof(buffer))
    guard.setsockopt(socket.SOL_SOCKET, option, value)


def _has_ipv6() -> bool:
    """Returns True if gRPC binds the wildcard address of IPv6, by the test that gRPC applies."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _bind_to_loopback(port: int, guard: socket.socket) -> bool:
    """Binds the servers on a port to the loopback interface; returns False if that is denied.

    Linux allows it without privileges from version 5.7 on.
    """
    for server in _listening(port):
        if os.fstat(server.fileno()).st_ino != os.fstat(guard.fileno()).st_ino:
            try:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
            except OSError:
                return False
    return True


def _listening(port: int) -> Iterator[socket.socket]:
    """Yields the sockets of this process that listen on a port, whoever opened them."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # Closed in the meantime.
            if not stat.S_ISSOCK(os.stat(f"/proc/self/fd/{name}").st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as each:
                if (
                    each.family in (socket.AF_INET, socket.AF_INET6)
                    and each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                    and each.getsockname()[1] == port
                ):
                    yield each
