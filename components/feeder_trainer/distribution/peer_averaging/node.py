"""A process among its peers: messages of arrays over gRPC, from each to each.

A message is a header and the bytes of a one-dimensional array; nothing in it is ever executed. The
channels are neither encrypted nor authenticated, as those of TensorFlow's own clusters: a team
belongs into a network of its own.
"""

import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
import numpy as np

from tfx_feeder.common.errors import ConfigError, FeederError

CALL_TIMEOUT_S = 30.0
"""Longest that one call may take, with the transfer of its arrays."""

_SERVICE = "tfx_feeder.Peer"
_HEADER = struct.Struct("<qqq8s")
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    # A peer that comes up late must not be kept waiting for minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class PeerLostError(FeederError):
    """Another process of the team ended, or does not answer any more."""


class UnreachableError(PeerLostError):
    """A peer did not answer this time; it may the next time."""


class Message(NamedTuple):
    """What peers send each other.

    Args:
        session: The life of the team that it belongs to; 0: not known yet.
        sender: Position of the sender in the team.
        number: Of the step, or of the round, that it is about.
        array: One-dimensional; it shares its memory with what was received and is read-only.
    """

    session: int
    sender: int
    number: int
    array: np.ndarray = np.empty(0, np.float32)

    def to_bytes(self) -> bytes:
        """Returns header and array."""
        kind = self.array.dtype.newbyteorder("<")
        header = _HEADER.pack(self.session, self.sender, self.number, kind.str.encode())
        return b"".join((header, np.ascontiguousarray(self.array, kind).data))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Message":
        """Reads what ``to_bytes`` wrote."""
        session, sender, number, kind = _HEADER.unpack_from(data)
        dtype = np.dtype(kind.rstrip(b"\0").decode())
        array = np.frombuffer(data, dtype, offset=_HEADER.size)
        return cls(session, sender, number, array)


Handler = Callable[[Message], Message | bytes | None]
"""Answers a message, perhaps with nothing. Its ``PeerLostError`` goes to the sender."""


class PeerNode:
    """This process's server, and its channels to the others.

    Args:
        addresses: ``host:port`` of every member of the team, the chief first.
        position: Of this process among them.

    Raises:
        ConfigError: The own address cannot be listened on.
    """

    def __init__(self, addresses: Sequence[str], position: int) -> None:
        self.position = position
        self.size = len(addresses)
        self.others = [peer for peer in range(self.size) if peer != position]
        self.session = 0
        self._addresses = addresses
        self._handlers: dict[str, Handler] = {}
        self._channels = {
            peer: grpc.insecure_channel(_numeric(addresses[peer]), options=_OPTIONS)
            for peer in self.others
        }
        # Every other member may wait in a call of its own while snapshots arrive.
        self._server = grpc.server(
            ThreadPoolExecutor(2 * self.size + 2, thread_name_prefix="peer"),
            handlers=[_Router(self._answer)],
            options=(*_OPTIONS, ("grpc.so_reuseport", 0)),
        )
        try:
            port = self._server.add_insecure_port(_listen(addresses[position]))
        except RuntimeError:
            port = 0
        if not port:
            raise ConfigError(
                "TF_CONFIG",
                received=addresses[position],
                expected="an address of this machine for this task to listen on",
                fix="Address already in use, or of another machine.",
            )

    def on(self, method: str, handler: Handler, *, outside_session: bool = False) -> None:
        """Lets a handler answer the messages to a method. To be called before ``start``.

        Args:
            method: Name of it.
            handler: Called in a thread of the server.
            outside_session: Take messages of other sessions as well.
        """

        def checked(message: Message) -> Message | bytes | None:
            if message.session != self.session:
                raise PeerLostError(
                    f"The process at {self._addresses[self.position]} belongs to another start of "
                    "the team: one of both was started again alone."
                )
            return handler(message)

        self._handlers[method] = handler if outside_session else checked

    def start(self) -> None:
        """Begins to answer."""
        self._server.start()

    def message(self, number: int = 0, array: np.ndarray | None = None) -> Message:
        """Makes a message of this process."""
        extra = () if array is None else (array,)
        return Message(self.session, self.position, number, *extra)

    def call(
        self, peer: int, method: str, message: Message, timeout_s: float = CALL_TIMEOUT_S
    ) -> Message | None:
        """Sends a message and returns the answer.

        Raises:
            UnreachableError: The peer is not there, or not in time.
            PeerLostError: The peer refuses.
        """
        stub = self._channels[peer].unary_unary(f"/{_SERVICE}/{method}")
        try:
            reply = stub(message.to_bytes(), timeout=timeout_s)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:  # pyright: ignore
                raise PeerLostError(error.details()) from None  # pyright: ignore
            raise UnreachableError(f"{self.name(peer)} does not answer.") from None
        except ValueError:  # The channel was closed.
            raise UnreachableError(f"{self.name(peer)} was left.") from None
        return Message.from_bytes(reply) if reply else None

    def name(self, peer: int) -> str:
        """Returns what to call a member in a message to a person."""
        role = "the chief" if peer == 0 else f"member {peer}"
        return f"{role} at {self._addresses[peer]}"

    def close(self) -> None:
        """Ends server and channels."""
        self._server.stop(grace=1).wait()
        for channel in self._channels.values():
            channel.close()

    def _answer(self, method: str, data: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            reply = self._handlers[method](Message.from_bytes(data))
        except PeerLostError as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return reply.to_bytes() if isinstance(reply, Message) else reply or b""


class _Router(grpc.GenericRpcHandler):
    """Leads every method of the service to one function."""

    def __init__(self, answer: Callable[[str, bytes, Any], bytes]) -> None:
        self._answer = answer

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler | None:
        _, service, method = handler_call_details.method.split("/")
        if service != _SERVICE:
            return None
        return grpc.unary_unary_rpc_method_handler(
            lambda data, context: self._answer(method, data, context)
        )


def _numeric(address: str) -> str:
    """Returns an address in which ``localhost`` is one interface, not one for IPv6 as well."""
    host, _, port = address.rpartition(":")
    return f"127.0.0.1:{port}" if host == "localhost" else address


def _listen(address: str) -> str:
    """Returns where to listen: at all interfaces, unless the address is of this machine only.

    The name in ``TF_CONFIG`` is what others say; a service in front may own it.
    """
    host, _, port = _numeric(address).rpartition(":")
    return f"{host}:{port}" if host in ("127.0.0.1", "[::1]") else f"[::]:{port}"
