"""HTTP server of both REST APIs, health checks and metrics."""

import asyncio
import contextlib
import hmac
import logging
import socket
import threading
import urllib.parse
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tfx_feeder import __version__
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.serving.server import rest_v1, rest_v2
from tfx_feeder.serving.server.errors import HTTP_STATUS, Code, ServingError
from tfx_feeder.serving.server.http_protocol import LimitedHttpProtocol
from tfx_feeder.serving.server.options import ServerOptions
from tfx_feeder.serving.server.predictor import Predictor, caller_of

_JSON = "application/json"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_START_S = 10.0
_BODY_S = 30.0
"""Limit for a client to send a body, in seconds."""

_log = logging.getLogger(__name__)


class _TooLargeError(Exception):
    pass


class Admission:
    """Bounded number of requests that are computed or wait.

    Args:
        most: Largest number.
    """

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self.number = 0

    def enter(self) -> None:
        """Counts a request.

        Raises:
            ServingError: There are too many.
        """
        with self._lock:
            if self.number >= self._most:
                raise ServingError(Code.RESOURCE_EXHAUSTED, "the server is busy; try again later")
            self.number += 1

    def leave(self) -> None:
        """Ends the count of a request."""
        with self._lock:
            self.number -= 1


class RestServer:
    """HTTP server on one port.

    Args:
        predictor: Answers the requests.
        options: Address, limits, TLS and token.
        workers: Threads that compute requests.
        admission: Counts the requests.
    """

    def __init__(
        self,
        predictor: Predictor,
        options: ServerOptions,
        workers: futures.ThreadPoolExecutor,
        admission: Admission,
    ) -> None:
        self._predictor, self._options = predictor, options
        self._workers, self._admission = workers, admission
        self._token = options.token()
        self.ready = False
        config = uvicorn.Config(
            Starlette(routes=self._routes()),
            host=options.host,
            port=options.rest_port,
            log_config=None,
            access_log=False,
            lifespan="off",
            ssl_certfile=options.certificate,
            ssl_keyfile=options.private_key,
            http=LimitedHttpProtocol,
            timeout_keep_alive=60,
        )
        self._socket = _listen(config)
        self.port: int = self._socket.getsockname()[1]
        self._server = _Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="rest", daemon=True
        )

    def start(self) -> None:
        """Answers requests from now on.

        Raises:
            RuntimeError: The server did not start in time.
        """
        self._thread.start()
        if not self._server.is_up.wait(_START_S):
            raise RuntimeError(f"the HTTP server did not start within {_START_S:.0f} s")
        self.ready = True

    def stop(self, grace_s: float) -> None:
        """Takes no new requests, and waits for those in progress.

        Args:
            grace_s: Limit of the wait, in seconds.
        """
        self.ready = False
        self._server.should_exit = True
        self._server.config.timeout_graceful_shutdown = max(1, round(grace_s))
        if self._thread.ident is not None:
            self._thread.join(grace_s + 5)
        self._socket.close()

    def _routes(self) -> Sequence[Route]:
        return [
            Route("/v2/health/live", self._live),
            Route("/v2/health/ready", self._is_ready),
            Route("/v2", self._describe),
            Route("/monitoring/prometheus/metrics", self._metrics),
            Route("/{path:path}", self._answer, methods=["GET", "POST"]),
        ]

    async def _live(self, _: Request) -> Response:
        return _json({"live": True})

    async def _is_ready(self, _: Request) -> Response:
        ready = self.ready and self._predictor.models.are_ready()
        return _json({"ready": ready}, 200 if ready else 503)

    async def _describe(self, _: Request) -> Response:
        return _json({"name": "tfx-feeder", "version": __version__, "extensions": []})

    async def _metrics(self, _: Request) -> Response:
        return Response(self._predictor.metrics.text(), media_type=_PROMETHEUS)

    async def _answer(self, request: Request) -> Response:
        path = urllib.parse.unquote(request.url.path)
        try:
            self._authorize(request)
            api: Any = rest_v2 if path.startswith("/v2/") else rest_v1
            target = api.parse_path(path)
            if request.method not in (target.method, "HEAD"):
                return _error(f"expected the method {target.method}", 405)
            self._admission.enter()
            try:
                body = await asyncio.wait_for(self._body(request), _BODY_S)
                caller = caller_of("REST", request.headers)
                answer = await self._in_thread(
                    lambda: api.answer(self._predictor, target, body, caller)
                )
            finally:
                self._admission.leave()
        except ServingError as error:
            return _error(error.message, HTTP_STATUS[error.code])
        except _TooLargeError as error:
            return _error(str(error), 413)
        except asyncio.TimeoutError:
            return _error("the request took too long", 504)
        except ClientDisconnect:
            return _error("the client has gone", 499)
        except Exception:
            _log.exception("a request failed")
            return _error("the server failed; its log tells why", 500)
        return Response(answer, media_type=_JSON)

    def _authorize(self, request: Request) -> None:
        if self._token:
            sent = request.headers.get("authorization", "")
            if not hmac.compare_digest(sent.encode(), f"Bearer {self._token}".encode()):
                raise ServingError(
                    Code.UNAUTHENTICATED, "expected the header Authorization: Bearer TOKEN"
                )

    async def _body(self, request: Request) -> bytes:
        most = self._options.max_request_bytes
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise _TooLargeError(f"the body has more than {most:,} bytes")
            parts.append(part)
        return b"".join(parts)

    async def _in_thread(self, compute: Callable[[], bytes]) -> bytes:
        """Computes in a worker; a request whose time has passed before its turn is dropped."""
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._workers, compute)
        # A future that was cancelled before its turn is never computed.
        return await asyncio.wait_for(future, self._options.timeout_s)


class _Server(uvicorn.Server):
    """Server that leaves signals to the process and tells when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    def capture_signals(self) -> Any:  # uvicorn installs handlers, which only a main thread may.
        return contextlib.nullcontext()


def _listen(config: uvicorn.Config) -> Any:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    # With the protocol's name, asyncio turns off Nagle's algorithm, which delays answers by 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((config.host, config.port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            "rest_port", received=config.port, expected=f"a free port ({error.strerror})"
        ) from error
    return listening


def _json(document: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type=_JSON)


def _error(message: str, status: int) -> Response:
    return _json({"error": message}, status)
