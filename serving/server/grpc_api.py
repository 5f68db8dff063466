"""TensorFlow Serving's gRPC services, and gRPC's own health service and reflection."""

import contextlib
import hmac
import importlib
import logging
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.serving.server.errors import Code, ServingError
from tfx_feeder.serving.server.options import ServerOptions, model_options
from tfx_feeder.serving.server.predictor import Caller, Predictor, caller_of

_PREDICTION = "tensorflow.serving.PredictionService"
_MODEL = "tensorflow.serving.ModelService"

_log = logging.getLogger(__name__)

# Reflection finds the services in what these modules register. In tensorflow-serving-api 2.19 one
# of them fails after it has registered its file, if protobuf is newer than 4.
for _module in ("prediction_service_pb2", "model_service_pb2"):
    with contextlib.suppress(AttributeError):
        importlib.import_module(f"tensorflow_serving.apis.{_module}")


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """``tensorflow.serving.PredictionService``.

    Args:
        predictor: Answers the requests.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answers a request with tensors."""
        return _answer(context, lambda: self._predictor.predict(request, _caller(context)))

    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answers a request with Examples by classes and scores."""
        return _answer(context, lambda: self._predictor.classify(request, _caller(context)))

    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answers a request with Examples by values."""
        return _answer(context, lambda: self._predictor.regress(request, _caller(context)))

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answers several classifications and regressions of the same Examples."""
        return _answer(context, lambda: self._predictor.multi_inference(request, _caller(context)))

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Returns the signatures of a model."""
        return _answer(context, lambda: self._predictor.metadata(request, _caller(context)))


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """``tensorflow.serving.ModelService``.

    Args:
        predictor: Knows the models.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Returns the state of each version of a model."""
        return _answer(context, lambda: self._predictor.status(request.model_spec))

    def HandleReloadConfigRequest(
        self,
        request: model_management_pb2.ReloadConfigRequest,
        context: grpc.ServicerContext,
    ) -> Any:
        """Replaces the models; they are loaded in the background."""

        def reload() -> model_management_pb2.ReloadConfigResponse:
            try:
                options = model_options(request.config)
            except ConfigError as error:
                raise ServingError(Code.INVALID_ARGUMENT, str(error)) from error
            self._predictor.models.reload(options)
            response = model_management_pb2.ReloadConfigResponse()
            response.status.CopyFrom(get_model_status_pb2.ModelVersionStatus().status)
            return response

        return _answer(context, reload)


def _caller(context: grpc.ServicerContext) -> Caller:
    return caller_of("GRPC", dict(context.invocation_metadata() or ()))


def _answer(context: grpc.ServicerContext, compute: Callable[[], Any]) -> Any:
    remaining = context.time_remaining()
    if not context.is_active() or (remaining is not None and remaining <= 0):
        # Nobody waits for it any more.
        context.abort(Code.DEADLINE_EXCEEDED, "the deadline passed before the request's turn")
    try:
        return compute()
    except ServingError as error:
        code, message = error.code, error.message
    except Exception:
        _log.exception("a request failed")
        code, message = Code.INTERNAL, "the server failed; its log tells why"
    context.abort(code, message)


class _Authorization(grpc.ServerInterceptor):
    """Refuses requests without the token."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}"

        def refuse(_: Any, context: grpc.ServicerContext) -> None:
            context.abort(Code.UNAUTHENTICATED, "expected the metadata authorization: Bearer TOKEN")

        self._refuse = grpc.unary_unary_rpc_method_handler(refuse)

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> Any:
        """Passes a request on if it carries the token."""
        sent = dict(handler_call_details.invocation_metadata).get("authorization", "")
        sent = sent if isinstance(sent, str) else ""
        if hmac.compare_digest(sent.encode(), self._expected.encode()):
            return continuation(handler_call_details)
        return self._refuse


class GrpcServer:
    """gRPC server on one port.

    Args:
        predictor: Answers the requests.
        options: Address, limits, TLS and token.
        workers: Threads that compute requests.

    Raises:
        ConfigError: The port is taken.
    """

    def __init__(
        self, predictor: Predictor, options: ServerOptions, workers: futures.ThreadPoolExecutor
    ) -> None:
        token = options.token()
        self._server = grpc.server(
            workers,
            maximum_concurrent_rpcs=options.threads + options.queue,
            interceptors=[_Authorization(token)] if token else [],
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", options.max_request_bytes),
                ("grpc.max_send_message_length", -1),
            ],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(predictor), self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelService(predictor), self._server
        )
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (_PREDICTION, _MODEL, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )
        self.port = self._listen(options)

    def _listen(self, options: ServerOptions) -> int:
        host = f"[{options.host}]" if ":" in options.host else options.host
        address = f"{host}:{options.grpc_port}"
        try:
            if options.certificate is None or options.private_key is None:
                port = self._server.add_insecure_port(address)
            else:
                pair = options.private_key.read_bytes(), options.certificate.read_bytes()
                credentials = grpc.ssl_server_credentials([pair])
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise ConfigError(
                "grpc_port", received=options.grpc_port, expected=f"a free port ({error})"
            ) from error
        if not port:
            raise ConfigError(
                "grpc_port", received=options.grpc_port, expected=f"a free port of {options.host}"
            )
        return port

    def start(self) -> None:
        """Answers requests from now on."""
        self._server.start()
        self.set_ready(True)

    def set_ready(self, ready: bool) -> None:
        """Tells clients of the health service whether to send requests."""
        status = health_pb2.HealthCheckResponse
        state = status.SERVING if ready else status.NOT_SERVING
        for service in ("", _PREDICTION, _MODEL):
            self._health.set(service, state)

    def stop(self, grace_s: float) -> None:
        """Takes no new requests, and waits for those in progress.

        Args:
            grace_s: Limit of the wait, in seconds.
        """
        self.set_ready(False)
        self._server.stop(grace_s).wait()
