"""Metrics of a server in Prometheus' format, with TensorFlow Serving's names where it has one."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tfx_feeder.serving.prediction_log import PredictionLogger
from tfx_feeder.serving.server.errors import Code, ServingError

_BUCKETS_US = tuple(10 * 1.8**power for power in range(33))
"""Bounds of the latency histogram in microseconds, those of TensorFlow Serving."""


class Metrics:
    """Counters of one server.

    Args:
        waiting: Returns the number of requests in progress or waiting.
        logger: Log of the predictions, if any.
    """

    def __init__(self, waiting: Callable[[], int], logger: PredictionLogger | None = None) -> None:
        self._registry = prometheus_client.CollectorRegistry()
        self._counts: dict[tuple[str, str], int] = {}
        self._latency = prometheus_client.Histogram(
            ":tensorflow:serving:request_latency",
            "Distribution of wall time (in microseconds) for TensorFlow Serving requests.",
            ("model_name", "API", "entrypoint"),
            buckets=_BUCKETS_US,
            registry=self._registry,
        )
        in_progress = prometheus_client.Gauge(
            "tfx_feeder_requests_in_progress",
            "Requests that are computed or wait.",
            registry=self._registry,
        )
        in_progress.set_function(waiting)
        self._registry.register(_RequestCounts(self._counts))
        if logger is not None:
            self._registry.register(_LogCounts(logger))

    @contextmanager
    def observe(self, model: str, api: str, entrypoint: str) -> Iterator[None]:
        """Counts a request and its time; an error that leaves the block counts as its status.

        Args:
            model: Name of the model; that of an unknown model must not be passed, for each name
                takes memory.
            api: Such as ``Predict``.
            entrypoint: ``GRPC`` or ``REST``.
        """
        started, code = time.perf_counter(), Code.OK
        try:
            yield
        except ServingError as error:
            code = error.code
            raise
        except Exception:
            code = Code.INTERNAL
            raise
        finally:
            key = model, code.name
            self._counts[key] = self._counts.get(key, 0) + 1
            elapsed = 1e6 * (time.perf_counter() - started)
            self._latency.labels(model, api, entrypoint).observe(elapsed)

    def text(self) -> bytes:
        """Returns all metrics in the text format."""
        return prometheus_client.generate_latest(self._registry)


class _RequestCounts(Collector):
    """Counter without the suffix ``_total``, which TensorFlow Serving's name lacks."""

    def __init__(self, counts: dict[tuple[str, str], int]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        metric = Metric(
            ":tensorflow:serving:request_count", "The total number of requests.", "unknown"
        )
        for (model, status), count in sorted(self._counts.items()):
            metric.add_sample(metric.name, {"model_name": model, "status": status}, count)
        yield metric


class _LogCounts(Collector):
    def __init__(self, logger: PredictionLogger) -> None:
        self._logger = logger

    def collect(self) -> Iterator[Metric]:
        counts = CounterMetricFamily(
            "tfx_feeder_prediction_log", "Requests by what became of them.", labels=["outcome"]
        )
        for outcome, count in dataclasses.asdict(self._logger.counts).items():
            counts.add_metric([outcome], count)
        yield counts
        yield GaugeMetricFamily(
            "tfx_feeder_prediction_log_stopped",
            "1 while nothing is logged, after an error of the disk.",
            value=float(self._logger.is_stopped),
        )
