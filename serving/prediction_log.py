"""Log of predictions: TFRecords of ``PredictionLog`` for TFX, and flat Parquet for everybody else.

Requests are handed to a thread that writes; a request never waits for the log, and no error of the
log reaches a client. Files appear under their names when they are complete.
"""

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import check_at_least
from tfx_feeder.serving.log_files import PARQUET_SUFFIX, TFRECORD_SUFFIX, LogFile

_RETRY_S = 60.0
"""Time without a log after an error of the disk, in seconds."""
_LOOK_S = 0.2

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Options of the log.

    Args:
        folder: Folder of the files, with a folder for each model.
        sampling_rate: Fraction of the units whose requests are logged, above 0, up to 1. A unit,
            such as a user, is logged always or never.
        rotate_mb: Size from which a file is completed, in MiB of records.
        rotate_s: Age from which a file is completed, in seconds.
        max_disk_mb: Size of all files, in MiB, from which the oldest are deleted.
        queue: Requests that wait to be written; more are not logged, but counted.
        queue_mb: Size of the requests and answers that wait, in MiB.

    Raises:
        ConfigError: A value is out of range.
    """

    folder: Path
    sampling_rate: float = 1.0
    rotate_mb: int = 16
    rotate_s: float = 300.0
    max_disk_mb: int = 1_024
    queue: int = 1_000
    queue_mb: int = 64

    def __post_init__(self) -> None:
        if not 0 < self.sampling_rate <= 1:
            raise ConfigError(
                "sampling_rate", received=self.sampling_rate, expected="above 0, up to 1"
            )
        if not 0 < self.rotate_s < 86_400 * 366:
            raise ConfigError("rotate_s", received=self.rotate_s, expected="seconds above 0")
        for name in ("rotate_mb", "max_disk_mb", "queue", "queue_mb"):
            check_at_least(name, getattr(self, name), 1)
        if self.max_disk_mb < 2 * self.rotate_mb:
            raise ConfigError(
                "max_disk_mb",
                received=self.max_disk_mb,
                expected=f"at least twice rotate_mb, which is {self.rotate_mb}",
            )


@dataclass(frozen=True, slots=True)
class Call:
    """Request that was answered.

    Args:
        model: Name of the model.
        version: Version that answered.
        request_id: Identifier of the request.
        key: Join key: the unit that the prediction is about, such as a user or an order, by which
            labels that come later are joined.
        latency_us: Time to the answer, in microseconds.
        size: Size of request and response in memory, in bytes.
        make: Returns request and response; called by the thread that writes.
    """

    model: str
    version: int
    request_id: str
    key: str
    latency_us: int
    size: int
    make: Callable[[], prediction_log_pb2.PredictionLog]


@dataclass(slots=True)
class LogCounts:
    """Numbers of requests by what became of them.

    Args:
        written: Logged.
        sampled_out: Not logged, because their units are not in the sample.
        dropped: Not logged, because too many waited.
        failed: Not logged, because the disk or the record refused.
    """

    written: int = 0
    sampled_out: int = 0
    dropped: int = 0
    failed: int = 0


class PredictionLogger:
    """Writes the log of a server.

    Args:
        options: Folder, sample and limits.
        clock: Seconds since 1970.
    """

    def __init__(self, options: LogOptions, clock: Callable[[], float] = time.time) -> None:
        self.counts = LogCounts()
        self._options, self._clock = options, clock
        self._calls: queue.Queue[tuple[Call, float]] = queue.Queue(options.queue)
        self._waiting_bytes, self._lock = 0, threading.Lock()
        self._files: dict[str, LogFile] = {}
        self._stopped_until = 0.0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._write, name="prediction-log", daemon=True)

    @property
    def is_stopped(self) -> bool:
        """True while nothing is logged, after an error of the disk."""
        return time.monotonic() < self._stopped_until

    def start(self) -> None:
        """Starts to write; completes what an earlier process left."""
        for path in list(self._options.folder.glob("*/.*")):
            if path.name.endswith(TFRECORD_SUFFIX):
                path.rename(path.with_name(path.name[1:]))
            elif path.name.endswith(PARQUET_SUFFIX):
                path.unlink()  # Without its last bytes it cannot be read.
        self._thread.start()

    def add(self, call: Call) -> None:
        """Logs a request if its unit is in the sample; returns at once."""
        if not is_sampled(call.key or call.request_id, self._options.sampling_rate):
            self.counts.sampled_out += 1
            return
        with self._lock:
            waiting = self._waiting_bytes + call.size
            if self._calls.full() or waiting > self._options.queue_mb * 2**20:
                self.counts.dropped += 1
                return
            self._waiting_bytes = waiting
            self._calls.put_nowait((call, self._clock()))

    def close(self) -> None:
        """Writes what waits and completes the files."""
        self._ending.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _write(self) -> None:
        while True:
            try:
                call, at = self._calls.get(timeout=_LOOK_S)
            except queue.Empty:
                if self._ending.is_set():
                    break
                self._guarded(lambda: self._complete(expired_only=True))
                continue
            if not self.is_stopped and self._guarded(partial(self._write_call, call, at)):
                self.counts.written += 1
            else:
                self.counts.failed += 1
            with self._lock:
                self._waiting_bytes -= call.size
        self._guarded(lambda: self._complete(expired_only=False))

    def _guarded(self, work: Callable[[], Any]) -> bool:
        """Returns False if an error was reported."""
        try:
            work()
        except (OSError, tf.errors.OpError) as error:
            _log.error("the prediction log stops for %.0f s: %s", _RETRY_S, error)
            self._stopped_until = time.monotonic() + _RETRY_S
            self._abandon()
            return False
        except Exception:
            _log.exception("a prediction was not logged")
            return False
        return True

    def _abandon(self) -> None:
        for file in self._files.values():
            file.abandon()
        self._files.clear()

    def _write_call(self, call: Call, at: float) -> None:
        log = call.make()
        log.log_metadata.model_spec.name = call.model
        log.log_metadata.model_spec.version.value = call.version
        log.log_metadata.sampling_config.sampling_rate = self._options.sampling_rate
        log.log_metadata.timestamp_secs = int(at)
        file = self._files.get(call.model)
        if file is None:
            file = self._files[call.model] = LogFile(self._options.folder / call.model, at)
        columns = {
            "time": datetime.fromtimestamp(at, timezone.utc),
            "request_id": call.request_id,
            "key": call.key,
            "model": call.model,
            "version": call.version,
            "latency_us": call.latency_us,
        }
        file.write(log, columns)
        if file.size >= self._options.rotate_mb * 2**20:
            self._files.pop(call.model).complete()
            self._delete_oldest()

    def _complete(self, *, expired_only: bool) -> None:
        now = self._clock()
        for model, file in list(self._files.items()):
            # A clock that was set back must not keep a file open.
            if not expired_only or not 0 <= now - file.since < self._options.rotate_s:
                self._files.pop(model).complete()
                self._delete_oldest()

    def _delete_oldest(self) -> None:
        found = [
            (path.stat().st_mtime_ns, path.stat().st_size, path)
            for path in self._options.folder.glob("*/*")
            if path.is_file() and path.name.endswith((TFRECORD_SUFFIX, PARQUET_SUFFIX))
        ]
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._options.max_disk_mb * 2**20:
                return
            path.unlink()
            total -= size


def is_sampled(key: str, rate: float) -> bool:
    """Returns True for a fraction of the keys, always the same ones.

    Args:
        key: Identifier of a unit.
        rate: The fraction, 0 to 1.
    """
    if rate >= 1:
        return True
    digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < rate * 2**64
