"""Local tf.data service cluster: a dispatcher and workers that live as long as the trainer.

``python -m tfx_feeder.components.feeder_trainer.feed.service_cluster dispatcher`` prints its
address; ``... worker`` reads the dispatcher's address from its standard input. Both exit when their
standard input closes, which happens when the parent process exits, even if it is killed.
"""

import atexit
import contextlib
import logging
import signal
import socket
import subprocess
import sys
import threading
from typing import IO

import tensorflow as tf

from tfx_feeder.common.errors import FeederError
from tfx_feeder.common.loopback import is_loopback, loopback_port

_MODULE = "tfx_feeder.components.feeder_trainer.feed.service_cluster"
_SHUTDOWN_S = 10
_WORKER_TIMEOUT_MS = 5_000
_HEARTBEAT_MS = 1_000
_POLL_S = 0.5

_log = logging.getLogger(__name__)


class ServiceCluster:
    """Dispatcher and workers in processes of their own; a worker that exits is replaced.

    Args:
        workers: Number of workers.
        host: Name of this machine for the processes that use the service. With ``"localhost"``,
            the processes of other machines cannot connect.

    Raises:
        FeederError: A process does not start.
    """

    def __init__(self, workers: int, host: str = "localhost") -> None:
        self._dispatcher = _start("dispatcher", host)
        self.workers = [_start("worker") for _ in range(workers)]
        self.port = int(_read_line(self._dispatcher).rpartition(":")[2])
        self.address = f"grpc://{host}:{self.port}"
        for worker in self.workers:
            self._connect(worker)
            _read_line(worker)
        self._closing = threading.Event()
        self._lock = threading.Lock()
        atexit.register(self.close)
        threading.Thread(target=self._replace_workers, name="feed-workers", daemon=True).start()

    def close(self) -> None:
        """Stops all processes; further calls have no effect."""
        atexit.unregister(self.close)
        with self._lock:
            self._closing.set()
        processes = [*self.workers, self._dispatcher]
        for process in processes:
            _close_input(process)
        for process in processes:
            try:
                process.wait(_SHUTDOWN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _pipe(process.stdout).close()

    def _connect(self, worker: subprocess.Popen[str]) -> None:
        pipe = _pipe(worker.stdin)
        pipe.write(f"{self.address}\n")
        pipe.flush()

    def _replace_workers(self) -> None:
        while not self._closing.wait(_POLL_S):
            for index, worker in enumerate(self.workers):
                if worker.poll() is not None:
                    self._replace(index)

    def _replace(self, index: int) -> None:
        failed = self.workers[index]
        with self._lock:
            if self._closing.is_set():
                return
            _log.warning(
                "A worker of the feed service exited with status %d and is replaced.",
                failed.returncode,
            )
            _close_input(failed)
            _pipe(failed.stdout).close()
            self.workers[index] = _start("worker")
            with contextlib.suppress(OSError):  # It may exit at once, and is replaced then.
                self._connect(self.workers[index])


def start_dispatcher(
    port: int = 0, host: str | None = None
) -> tf.data.experimental.service.DispatchServer:
    """Starts a dispatcher in this process.

    Args:
        port: Port to listen on; 0 selects a free one.
        host: Name of this machine; for that of the loopback interface, only clients on this
            machine can connect. ``None`` for all clients.

    Raises:
        ConfigError: The operating system cannot restrict a port.
        OSError: The port is in use.
    """
    service = tf.data.experimental.service
    with _opened_port(port, host) as port:
        return service.DispatchServer(
            service.DispatcherConfig(port=port, worker_timeout_ms=_WORKER_TIMEOUT_MS)
        )


def start_worker(
    dispatcher: str, port: int = 0, address: str | None = None
) -> tf.data.experimental.service.WorkerServer:
    """Starts a worker in this process.

    Args:
        dispatcher: Address of the dispatcher, as in ``grpc://host:port``.
        port: Port to listen on; 0 selects a free one.
        address: Address ``host:port`` under which trainers reach this worker; ``%port%`` stands
            for the port. ``None`` restricts the worker to trainers on this machine.

    Raises:
        ConfigError: The operating system cannot restrict a port.
        OSError: The port is in use.
    """
    service = tf.data.experimental.service
    host = "localhost" if address is None else address.rpartition(":")[0]
    with _opened_port(port, host) as port:
        return service.WorkerServer(
            service.WorkerConfig(
                dispatcher_address=dispatcher.partition("://")[2],
                port=port,
                worker_address=address,
                data_transfer_address=address,
                heartbeat_interval_ms=_HEARTBEAT_MS,
            )
        )


def _opened_port(port: int, host: str | None) -> contextlib.AbstractContextManager[int]:
    """Returns a context in which a server may listen on a port of a host.

    Raises:
        OSError: The port is in use.
    """
    if host is not None and is_loopback(host):
        return loopback_port(port)
    # gRPC would share the port with another server, and each would get a part of the calls.
    socket.create_server(("", port)).close()
    return contextlib.nullcontext(port)


def _start(role: str, *arguments: str) -> subprocess.Popen[str]:
    # The pipe ties the child to this process: the kernel closes it even if this process is killed.
    return subprocess.Popen(
        [sys.executable, "-m", _MODULE, role, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _read_line(process: subprocess.Popen[str]) -> str:
    line = _pipe(process.stdout).readline().strip()
    if not line:
        raise FeederError(
            f"A tf.data service process exited with status {process.wait()} before it was ready. "
            "See its error output."
        )
    return line


def _close_input(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(OSError):  # Its buffer may hold an address that was not read.
        _pipe(process.stdin).close()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def main(role: str, host: str = "localhost") -> None:
    """Runs a dispatcher or a worker until the standard input closes.

    Args:
        role: Either ``dispatcher`` or ``worker``.
        host: Name of this machine for the clients of the dispatcher.
    """
    # Ctrl-C reaches this process too, but the trainer needs batches until it has saved its state.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if role == "dispatcher":
        server = start_dispatcher(host=host)
        print(server.target, flush=True)
    else:
        dispatcher = sys.stdin.readline().strip()
        host = dispatcher.partition("://")[2].rpartition(":")[0]
        server = start_worker(dispatcher, address=f"{host}:%port%")
        print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
