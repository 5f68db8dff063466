"""Local tf.data service cluster: a dispatcher and workers that live as long as the trainer.

``python -m tfx_feeder.components.feeder_trainer.feed.service_cluster dispatcher`` prints its
address; ``... worker`` reads the dispatcher's address from its standard input. Both exit when their
standard input closes, which happens when the parent process exits, even if it is killed.
"""

import atexit
import subprocess
import sys
from typing import IO

import tensorflow as tf

from tfx_feeder.common.errors import FeederError

_MODULE = "tfx_feeder.components.feeder_trainer.feed.service_cluster"
_SHUTDOWN_S = 10
_WORKER_TIMEOUT_MS = 5_000
_HEARTBEAT_MS = 1_000


class ServiceCluster:
    """Dispatcher and workers in processes of their own.

    Args:
        workers: Number of workers.

    Raises:
        FeederError: A process does not start.
    """

    def __init__(self, workers: int) -> None:
        self._dispatcher = _start("dispatcher")
        self.workers = [_start("worker") for _ in range(workers)]
        self.address = _read_line(self._dispatcher)
        for worker in self.workers:
            self._connect(worker)
        atexit.register(self.close)

    def restart_workers(self) -> None:
        """Replaces workers that have exited.

        Raises:
            FeederError: A worker does not start.
        """
        for index, worker in enumerate(self.workers):
            if worker.poll() is not None:
                self.workers[index] = _start("worker")
                self._connect(self.workers[index])

    def close(self) -> None:
        """Stops all processes; further calls have no effect."""
        atexit.unregister(self.close)
        processes = [*self.workers, self._dispatcher]
        for process in processes:
            _pipe(process.stdin).close()
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
        _read_line(worker)


def start_dispatcher(port: int = 0) -> tf.data.experimental.service.DispatchServer:
    """Starts a dispatcher in this process.

    Args:
        port: Port to listen on; 0 selects a free one.
    """
    service = tf.data.experimental.service
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
    """
    service = tf.data.experimental.service
    return service.WorkerServer(
        service.WorkerConfig(
            dispatcher_address=dispatcher.partition("://")[2],
            port=port,
            worker_address=address,
            data_transfer_address=address,
            heartbeat_interval_ms=_HEARTBEAT_MS,
        )
    )


def _start(role: str) -> subprocess.Popen[str]:
    # The pipe ties the child to this process: the kernel closes it even if this process is killed.
    return subprocess.Popen(
        [sys.executable, "-m", _MODULE, role],
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


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def main(role: str) -> None:
    """Runs a dispatcher or a worker until the standard input closes.

    Args:
        role: Either ``dispatcher`` or ``worker``.
    """
    if role == "dispatcher":
        server = start_dispatcher()
        print(server.target, flush=True)
    else:
        server = start_worker(sys.stdin.readline().strip())
        print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
