"""gRPC node of one process: sends arrays to its peers and answers their messages.

A message is a header and the bytes of a one-dimensional array; nothing in it is ever executed. Each
call carries the secret of the training, and is refused without it before its message is read. The
channels are not encrypted, like those of TensorFlow's own clusters: run a cluster in a private
network.
"""

import hmac
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
import numpy as np

from tfx_feeder.common.errors import ConfigError, FeederError
from tfx_feeder.common.loopback import is_loopback
from tfx_feeder.components.feeder_trainer.distribution.cluster import VARIABLE

CALL_TIMEOUT_S = 30.0
"""Timeout of one call, including the transfer of its arrays."""

_SERVICE = "tfx_feeder.Peer"
_HEADER = struct.Struct("<qqq8s")
_TOKEN = "tfx-feeder-token"
_REFUSALS = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAUTHENTICATED)
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    # With the default backoff, a peer that starts late would be unreachable for minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class PeerLostError(FeederError):
    """Raised when another process of the group has exited or does not respond."""


class UnreachableError(PeerLostError):
    """Raised when a peer did not respond to one call; a retry may succeed."""


class Message(NamedTuple):
    """Message between peers.

    Args:
        session: Identifier of the group's current run; 0 before it is known.
        sender: Rank of the sender.
        number: Number of the step or of the collective operation that the message belongs to.
        array: One-dimensional array; a received one is read-only and shares the memory of the
            message.
    """

    session: int
    sender: int
    number: int
    array: np.ndarray = np.empty(0, np.float32)

    def to_bytes(self) -> bytes:
        """Returns the header and the array as bytes."""
        kind = self.array.dtype.newbyteorder("<")
        header = _HEADER.pack(self.session, self.sender, self.number, kind.str.encode())
        return b"".join((header, np.ascontiguousarray(self.array, kind).data))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Message":
        """Returns the message that ``to_bytes`` serialized.

        Raises:
            ValueError: The data is not such a message.
        """
        try:
            session, sender, number, kind = _HEADER.unpack_from(data)
            dtype = np.dtype(kind.rstrip(b"\0").decode())
        except (struct.error, TypeError) as error:
            raise ValueError(str(error)) from error
        if dtype.kind != "f":
            raise ValueError(f"values of type {dtype}")
        array = np.frombuffer(data, dtype, offset=_HEADER.size)
        return cls(session, sender, number, array)


Handler = Callable[[Message], Message | bytes | None]
"""Function that answers a message, or returns ``None``; a ``PeerLostError`` goes to the sender."""


class PeerNode:
    """Server of this process and its channels to the peers.

    Args:
        addresses: Addresses (``host:port``) of all processes of the group, the chief first.
        rank: Rank of this process among them.
        token: Secret of the group; calls without it are refused.

    Raises:
        ConfigError: The address of this process cannot be bound.
    """

    def __init__(self, addresses: Sequence[str], rank: int, token: str = "") -> None:
        self.rank = rank
        self.size = len(addresses)
        self.peers = [peer for peer in range(self.size) if peer != rank]
        self.session = 0
        self._metadata = ((_TOKEN, token),)
        self._addresses = addresses
        self._handlers: dict[str, Handler] = {}
        self._channels = {
            peer: grpc.insecure_channel(_numeric(addresses[peer]), options=_OPTIONS)
            for peer in self.peers
        }
        # Every peer may block in a call of its own while snapshots arrive.
        self._server = grpc.server(
            ThreadPoolExecutor(2 * self.size + 2, thread_name_prefix="peer"),
            handlers=[_Router(self._answer, token)],
            options=(*_OPTIONS, ("grpc.so_reuseport", 0)),
        )
        try:
            port = self._server.add_insecure_port(_bind_address(addresses[rank]))
        except RuntimeError:
            port = 0
        if not port:
            raise ConfigError(
                VARIABLE,
                received=addresses[rank],
                expected="a free address of this machine for this task",
                fix="Address already in use, or of another machine.",
            )

    def register_handler(self, method: str, handler: Handler, *, any_session: bool = False) -> None:
        """Registers the handler of a method. Call it before ``start``.

        Args:
            method: Name of the method.
            handler: Function that answers; called in a thread of the server.
            any_session: If True, accept messages of other sessions too.
        """

        def checked(message: Message) -> Message | bytes | None:
            if message.session != self.session:
                raise PeerLostError(
                    f"The process at {self._addresses[self.rank]} belongs to another run of the "
                    "process group: one of the two was restarted alone."
                )
            return handler(message)

        self._handlers[method] = handler if any_session else checked

    def start(self) -> None:
        """Starts the server."""
        self._server.start()

    def message(self, number: int = 0, array: np.ndarray | None = None) -> Message:
        """Returns a message from this process.

        Args:
            number: Number of the step or operation.
            array: One-dimensional array; ``None``: an empty one.
        """
        extra = () if array is None else (array,)
        return Message(self.session, self.rank, number, *extra)

    def call(
        self, peer: int, method: str, message: Message, timeout_s: float = CALL_TIMEOUT_S
    ) -> Message | None:
        """Sends a message and returns the answer.

        Args:
            peer: Rank of the receiver.
            method: Name of the method.
            message: Message to send.
            timeout_s: Timeout of the call in seconds.

        Raises:
            UnreachableError: The peer did not respond in time.
            PeerLostError: The peer rejected the message.
        """
        stub = self._channels[peer].unary_unary(f"/{_SERVICE}/{method}")
        try:
            reply = stub(message.to_bytes(), timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            if error.code() in _REFUSALS:  # pyright: ignore
                raise PeerLostError(error.details()) from None  # pyright: ignore
            raise UnreachableError(f"{self.name(peer)} does not respond.") from None
        except ValueError:
            raise UnreachableError(f"The channel to {self.name(peer)} is closed.") from None
        return Message.from_bytes(reply) if reply else None

    def name(self, peer: int) -> str:
        """Returns the name of a process in messages to the user."""
        role = "the chief" if peer == 0 else f"worker {peer}"
        return f"{role} at {self._addresses[peer]}"

    def close(self) -> None:
        """Stops the server and closes the channels."""
        self._server.stop(grace=1).wait()
        for channel in self._channels.values():
            channel.close()

    def _answer(self, method: str, data: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            handler, message = self._handlers[method], Message.from_bytes(data)
        except (KeyError, ValueError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        try:
            if message.sender not in self.peers:
                raise PeerLostError(f"Process {message.sender} is not a peer of {self.rank}.")
            reply = handler(message)
        except PeerLostError as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return reply.to_bytes() if isinstance(reply, Message) else reply or b""


class _Router(grpc.GenericRpcHandler):
    """Routes every method of the service to one function, for calls that carry the token."""

    def __init__(self, answer: Callable[[str, bytes, Any], bytes], token: str) -> None:
        self._answer = answer
        self._token = token.encode()

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler | None:
        service, _, method = handler_call_details.method.removeprefix("/").partition("/")
        if service != _SERVICE:
            return None
        token = str(dict(handler_call_details.invocation_metadata).get(_TOKEN, ""))
        if not hmac.compare_digest(token.encode(), self._token):
            # A handler of streams does not read the message of a stranger.
            return grpc.stream_unary_rpc_method_handler(_refuse)
        return grpc.unary_unary_rpc_method_handler(
            lambda data, context: self._answer(method, data, context)
        )


def _refuse(_: Any, context: grpc.ServicerContext) -> None:
    context.abort(
        grpc.StatusCode.UNAUTHENTICATED,
        "The call does not carry the token of this training: the two processes belong to "
        "different trainings, or one of them was restarted alone.",
    )


def _numeric(address: str) -> str:
    """Returns the address with ``localhost`` as 127.0.0.1, which excludes IPv6."""
    host, _, port = address.rpartition(":")
    return f"127.0.0.1:{port}" if host == "localhost" else address


def _bind_address(address: str) -> str:
    """Returns the address to bind: all interfaces, unless the given one is local to the machine.

    ``TF_CONFIG`` holds the name that other machines use, which may belong to a service in front.
    """
    host, _, port = _numeric(address).rpartition(":")
    return f"{host}:{port}" if is_loopback(host) else f"[::]:{port}"
