"""tf.data service on this machine: a dispatcher and workers that live as long as the trainer."""

import atexit
import subprocess
import sys
from typing import IO

from tfx_feeder.common.errors import FeederError

_MODULE = "tfx_feeder.components.feeder_trainer.feed.service_process"
_END_S = 10


class ServiceCluster:
    """A dispatcher and some workers, each a process.

    Args:
        workers: Number of them.

    Raises:
        FeederError: A process does not come up.
    """

    def __init__(self, workers: int) -> None:
        self._dispatcher = _start("dispatcher")
        self.workers = [_start("worker") for _ in range(workers)]
        self.address = _answer(self._dispatcher)
        for worker in self.workers:
            self._connect(worker)
        atexit.register(self.close)

    def revive(self) -> None:
        """Replaces workers that died."""
        for index, worker in enumerate(self.workers):
            if worker.poll() is not None:
                self.workers[index] = _start("worker")
                self._connect(self.workers[index])

    def close(self) -> None:
        """Ends all processes; may be called again."""
        atexit.unregister(self.close)
        processes = [*self.workers, self._dispatcher]
        for process in processes:
            _pipe(process.stdin).close()
        for process in processes:
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _pipe(process.stdout).close()

    def _connect(self, worker: subprocess.Popen[str]) -> None:
        pipe = _pipe(worker.stdin)
        pipe.write(f"{self.address}\n")
        pipe.flush()
        _answer(worker)


def _start(role: str) -> subprocess.Popen[str]:
    # The pipe to its input is its lifeline: the kernel closes it even if this process is killed.
    return subprocess.Popen(
        [sys.executable, "-m", _MODULE, role],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _answer(process: subprocess.Popen[str]) -> str:
    line = _pipe(process.stdout).readline().strip()
    if not line:
        raise FeederError(
            f"A process of tf.data service ended with status {process.wait()} before it was ready; "
            "its error output says why."
        )
    return line


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
