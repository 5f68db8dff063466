"""A dispatcher or a worker of tf.data service as a process of its own.

``python -m tfx_feeder.components.feeder_trainer.feed.service_process dispatcher`` prints its
address; ``... worker`` reads the dispatcher's address from its input. Both end when their input
ends, that is when the process that started them ends, however it ends.
"""

import sys

import tensorflow as tf

_service = tf.data.experimental.service
_WORKER_TIMEOUT_MS = 5_000
_HEARTBEAT_MS = 1_000


def start_dispatcher(port: int = 0) -> tf.data.experimental.service.DispatchServer:
    """Starts a dispatcher in this process.

    Args:
        port: To listen on; 0 takes a free one.
    """
    return _service.DispatchServer(
        _service.DispatcherConfig(port=port, worker_timeout_ms=_WORKER_TIMEOUT_MS)
    )


def start_worker(
    dispatcher: str, port: int = 0, address: str | None = None
) -> tf.data.experimental.service.WorkerServer:
    """Starts a worker in this process.

    Args:
        dispatcher: ``grpc://host:port``.
        port: To listen on; 0 takes a free one.
        address: ``host:port`` under which trainers reach this worker; ``%port%`` stands for the
            port. ``None``: this machine only.
    """
    return _service.WorkerServer(
        _service.WorkerConfig(
            dispatcher_address=dispatcher.partition("://")[2],
            port=port,
            worker_address=address,
            data_transfer_address=address,
            heartbeat_interval_ms=_HEARTBEAT_MS,
        )
    )


def main(role: str) -> None:
    """Runs a server until the standard input ends."""
    if role == "dispatcher":
        server = start_dispatcher()
        print(server.target, flush=True)
    else:
        server = start_worker(sys.stdin.readline().strip())
        print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
