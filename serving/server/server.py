"""Model server: gRPC and REST over the same models, threads and limits."""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent import futures
from pathlib import Path

from tfx_feeder.serving.prediction_log import LogOptions, PredictionLogger
from tfx_feeder.serving.server.grpc_api import GrpcServer
from tfx_feeder.serving.server.metrics import Metrics
from tfx_feeder.serving.server.models import Models
from tfx_feeder.serving.server.options import ModelOptions, ServerOptions
from tfx_feeder.serving.server.predictor import Predictor
from tfx_feeder.serving.server.rest_server import Admission, RestServer
from tfx_feeder.serving.server.saved_model import SavedModel
from tfx_feeder.serving.server.warmup import warm_up

_log = logging.getLogger(__name__)


class ModelServer:
    """Server of models; ``start`` loads them and listens.

    Args:
        models: Models.
        options: Addresses and limits.
        log: Log of the predictions, if any.

    Raises:
        ConfigError: A port is taken, or a file of the options cannot be read.
    """

    def __init__(
        self,
        models: Sequence[ModelOptions],
        options: ServerOptions,
        log: LogOptions | None = None,
    ) -> None:
        self._options = options
        self.models = Models(models, self._load, options.poll_s)
        self._admission = Admission(options.threads + options.queue)
        self.logger = PredictionLogger(log) if log else None
        self.metrics = Metrics(lambda: self._admission.number, self.logger)
        predictor = Predictor(self.models, self.metrics, options.max_request_bytes, self.logger)
        self._workers = futures.ThreadPoolExecutor(options.threads, "request")
        self._grpc = GrpcServer(predictor, options, self._workers)
        self._rest = RestServer(predictor, options, self._workers, self._admission)
        self._stopped = threading.Event()

    @property
    def grpc_port(self) -> int:
        """Port of gRPC."""
        return self._grpc.port

    @property
    def rest_port(self) -> int:
        """Port of REST."""
        return self._rest.port

    def start(self) -> None:
        """Loads the models, then answers requests."""
        self.models.start()
        if self.logger:
            self.logger.start()
        self._grpc.start()
        self._rest.start()

    def stop(self, grace_s: float = 10.0) -> None:
        """Ends: takes no new requests, waits for those in progress, then unloads the models.

        Args:
            grace_s: Limit of the wait, in seconds.
        """
        if self._stopped.is_set():
            return
        self._stopped.set()
        stopping = [
            threading.Thread(target=server.stop, args=(grace_s,))
            for server in (self._grpc, self._rest)
        ]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()
        self._workers.shutdown(wait=False, cancel_futures=True)
        if self.logger:
            self.logger.close()
        self.models.stop()

    def _load(self, folder: Path) -> SavedModel:
        started = time.monotonic()
        model = SavedModel(folder)
        try:
            count = warm_up(model, self._options.max_request_bytes)
        except BaseException:
            model.close()
            raise
        if count:
            _log.info("%s: %d warm-up requests", folder, count)
        _log.debug("%s: loaded within %.2f s", folder, time.monotonic() - started)
        return model
