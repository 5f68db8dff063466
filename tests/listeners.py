"""Sockets that processes listen on, with the interface that they are bound to, as ``ss`` shows.

The files in /proc/net do not name that interface; the socket diagnostics of Linux do.
"""

import contextlib
import ipaddress
import os
import re
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

_SOCKET_OF_PROCESS = re.compile(r"socket:\[(\d+)\]")
_DUMP = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI48x")
_REPLY = struct.Struct("=16x4x2s2x16s16xI8x16xI")
_BY_FAMILY, _DONE, _REQUEST_DUMP, _LISTEN = 20, 3, 0x301, 1 << 10


def listeners(pids: Iterable[int]) -> list[str]:
    """Returns the addresses that processes listen on, as ``host:port`` or ``lo host:port``."""
    owned = {inode for pid in pids for inode in _sockets(pid)}
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for port, address, interface, inode in _dump(family):
            if inode in owned:
                host = ipaddress.ip_address(address[: 4 if family == socket.AF_INET else 16])
                host = getattr(host, "ipv4_mapped", None) or host
                shown = f"[{host}]:{port}" if host.version == 6 else f"{host}:{port}"
                name = f"{socket.if_indextoname(interface)} " if interface else ""
                found.append(name + shown)
    return found


def descendants(pid: int) -> list[int]:
    """Returns a process and all processes that it started, directly or not."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    found = [int(each) for path in children for each in path.read_text().split()]
    return [pid, *(each for child in found for each in descendants(child))]


def _sockets(pid: int) -> set[int]:
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if match := _SOCKET_OF_PROCESS.fullmatch(os.readlink(descriptor)):
                found.add(int(match[1]))
    return found


def _dump(family: int) -> Iterable[tuple[int, bytes, int, int]]:
    """Yields port, address, index of the interface, and inode of all listening TCP sockets."""
    request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _LISTEN)
    header = _DUMP.pack(_DUMP.size + len(request), _BY_FAMILY, _REQUEST_DUMP, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as link:
        link.send(header + request)
        while True:
            data = link.recv(1 << 16)
            while data:
                length, kind, *_ = _DUMP.unpack_from(data)
                if kind != _BY_FAMILY:
                    assert kind == _DONE, "The kernel refuses socket diagnostics."
                    return
                port, address, interface, inode = _REPLY.unpack_from(data)
                yield int.from_bytes(port, "big"), address, interface, inode
                data = data[(length + 3) & ~3 :]
