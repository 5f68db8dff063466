"""Answers to the requests of TensorFlow Serving's API, by whatever protocol they came."""

import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
)

from tfx_feeder.serving.prediction_log import Call, PredictionLogger
from tfx_feeder.serving.server import operations
from tfx_feeder.serving.server.errors import invalid
from tfx_feeder.serving.server.metrics import Metrics
from tfx_feeder.serving.server.models import Models
from tfx_feeder.serving.server.saved_model import DEFAULT_SIGNATURE, SavedModel, Signature
from tfx_feeder.serving.server.tensors import to_proto

_Response = TypeVar("_Response")
SIGNATURES = "signature_def"
"""The one kind of metadata."""
_LONGEST_KEY = 256
_LOGS = {
    "Predict": "predict_log",
    "Classify": "classify_log",
    "Regress": "regress_log",
    "MultiInference": "multi_inference_log",
}
"""Field of ``PredictionLog`` for each call."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Origin of a request.

    Args:
        entrypoint: ``GRPC`` or ``REST``.
        request_id: Identifier of the request; if empty, the log has one of its own.
        key: Join key of the log.
    """

    entrypoint: str
    request_id: str = ""
    key: str = ""


REQUEST_ID, JOIN_KEY = "x-request-id", "x-join-key"
"""Headers of HTTP, and metadata of gRPC, that identify a request and its unit in the log."""


def caller_of(entrypoint: str, headers: Mapping[str, Any]) -> Caller:
    """Returns the origin of a request.

    Args:
        entrypoint: ``GRPC`` or ``REST``.
        headers: Headers or metadata, by names in lower case.
    """
    found = (str(headers.get(name, ""))[:_LONGEST_KEY] for name in (REQUEST_ID, JOIN_KEY))
    return Caller(entrypoint, *found)


class Predictor:
    """Answers requests with the models of a server.

    Args:
        models: Models.
        metrics: Counters.
        most_bytes: Largest size of an input.
        logger: Logs the predictions, if any.
    """

    def __init__(
        self,
        models: Models,
        metrics: Metrics,
        most_bytes: int,
        logger: PredictionLogger | None = None,
    ) -> None:
        self.models, self.metrics = models, metrics
        self._most_bytes, self._logger = most_bytes, logger

    def predict(
        self, request: predict_pb2.PredictRequest, caller: Caller
    ) -> predict_pb2.PredictResponse:
        """Answers ``Predict``.

        Args:
            request: Request of TensorFlow Serving's API.
            caller: Origin of the request.

        Raises:
            ServingError: The request cannot be answered.
        """

        def answer(number: int, model: SavedModel) -> predict_pb2.PredictResponse:
            response = operations.predict(model, request, self._most_bytes)
            return _filled(response, request.model_spec, number)

        return self._answer("Predict", request.model_spec, request, caller, answer)

    def classify(
        self, request: classification_pb2.ClassificationRequest, caller: Caller
    ) -> classification_pb2.ClassificationResponse:
        """Answers ``Classify``.

        Args:
            request: Request of TensorFlow Serving's API.
            caller: Origin of the request.

        Raises:
            ServingError: The request cannot be answered.
        """

        def answer(number: int, model: SavedModel) -> classification_pb2.ClassificationResponse:
            result = operations.classify(model, request.model_spec.signature_name, request.input)
            response = classification_pb2.ClassificationResponse(result=result)
            return _filled(response, request.model_spec, number)

        return self._answer("Classify", request.model_spec, request, caller, answer)

    def regress(
        self, request: regression_pb2.RegressionRequest, caller: Caller
    ) -> regression_pb2.RegressionResponse:
        """Answers ``Regress``.

        Args:
            request: Request of TensorFlow Serving's API.
            caller: Origin of the request.

        Raises:
            ServingError: The request cannot be answered.
        """

        def answer(number: int, model: SavedModel) -> regression_pb2.RegressionResponse:
            result = operations.regress(model, request.model_spec.signature_name, request.input)
            response = regression_pb2.RegressionResponse(result=result)
            return _filled(response, request.model_spec, number)

        return self._answer("Regress", request.model_spec, request, caller, answer)

    def multi_inference(
        self, request: inference_pb2.MultiInferenceRequest, caller: Caller
    ) -> inference_pb2.MultiInferenceResponse:
        """Answers ``MultiInference``.

        Args:
            request: Request of TensorFlow Serving's API.
            caller: Origin of the request.

        Raises:
            ServingError: The request cannot be answered.
        """
        if not request.tasks:
            raise invalid("Inference request has no tasks")

        def answer(number: int, model: SavedModel) -> inference_pb2.MultiInferenceResponse:
            response = operations.multi_inference(model, request)
            for task, result in zip(request.tasks, response.results, strict=True):
                _filled(result, task.model_spec, number)
            return response

        spec = request.tasks[0].model_spec
        return self._answer("MultiInference", spec, request, caller, answer)

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, caller: Caller
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Answers ``GetModelMetadata``.

        Args:
            request: Request of TensorFlow Serving's API.
            caller: Origin of the request.

        Raises:
            ServingError: The request cannot be answered.
        """
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        if unknown := [field for field in request.metadata_field if field != SIGNATURES]:
            raise invalid(f"Metadata field {unknown[0]} is not supported")
        with self.observed(request.model_spec, "GetModelMetadata", caller) as (number, model):
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.metadata[SIGNATURES].Pack(operations.signature_map(model))
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = number
            return response

    def status(self, spec: model_pb2.ModelSpec) -> get_model_status_pb2.GetModelStatusResponse:
        """Answers ``GetModelStatus``."""
        number, label = _wanted(spec)
        response = get_model_status_pb2.GetModelStatusResponse()
        for version in self.models.get(spec.name).statuses(number, label):
            added = response.model_version_status.add(version=version.number, state=version.state)
            if version.error is not None:
                added.status.error_code = version.error.code.value[0]
                added.status.error_message = version.error.message
        return response

    @contextmanager
    def observed(
        self, spec: model_pb2.ModelSpec, api: str, caller: Caller
    ) -> Iterator[tuple[int, SavedModel]]:
        """Holds the version that a request names, or the newest, and counts the request.

        Args:
            spec: Model, and version or label.
            api: Such as ``Predict``.
            caller: Origin of the request.

        Yields:
            Number of the version and its model.

        Raises:
            ServingError: The version is not available.
        """
        if not spec.name:
            raise invalid("Missing ModelSpec")
        versions = self.models.get(spec.name)  # An unknown name makes no row of metrics.
        with (
            self.metrics.observe(spec.name, api, caller.entrypoint),
            versions.acquire(*_wanted(spec)) as (number, model),
        ):
            yield number, model

    def predict_arrays(
        self,
        spec: model_pb2.ModelSpec,
        api: str,
        caller: Caller,
        read: Callable[[SavedModel], tuple[Signature, Mapping[str, np.ndarray]]],
        outputs: Collection[str] = (),
    ) -> tuple[int, dict[str, np.ndarray]]:
        """Answers a request whose tensors are arrays.

        Args:
            spec: Model, and version or label.
            api: Such as ``Predict``.
            caller: Origin of the request.
            read: Returns signature and inputs for a model.
            outputs: Names of the wanted outputs; empty for all.

        Returns:
            Number of the version and its outputs.

        Raises:
            ServingError: The request cannot be answered.
        """
        started = time.perf_counter()
        with self.observed(spec, api, caller) as (number, model):
            signature, inputs = read(model)
            found = model.run(signature, inputs, outputs)

        def log() -> prediction_log_pb2.PredictionLog:
            made = prediction_log_pb2.PredictionLog()
            call = made.predict_log
            for message, arrays in (
                (call.request, (call.request.inputs, inputs)),
                (call.response, (call.response.outputs, found)),
            ):
                _filled(message, spec, number)
                message.model_spec.signature_name = signature.name
                tensors, values = arrays
                for name, array in values.items():
                    tensors[name].CopyFrom(to_proto(array))
            return made

        size = sum(array.nbytes for array in (*inputs.values(), *found.values()))
        self._log(spec.name, number, caller, started, size, log)
        return number, found

    def _answer(
        self,
        api: str,
        spec: model_pb2.ModelSpec,
        request: Any,
        caller: Caller,
        answer: Callable[[int, SavedModel], _Response],
    ) -> _Response:
        started = time.perf_counter()
        with self.observed(spec, api, caller) as (number, model):
            response = answer(number, model)

        def log() -> prediction_log_pb2.PredictionLog:
            made = prediction_log_pb2.PredictionLog()
            call = getattr(made, _LOGS[api])
            call.request.CopyFrom(request)
            call.response.CopyFrom(response)
            return made

        if self._logger is not None:
            self._log(spec.name, number, caller, started, 2 * request.ByteSize(), log)
        return response

    def _log(
        self,
        model: str,
        version: int,
        caller: Caller,
        started: float,
        size: int,
        make: Callable[[], prediction_log_pb2.PredictionLog],
    ) -> None:
        if self._logger is not None:
            latency_us = round(1e6 * (time.perf_counter() - started))
            request_id = caller.request_id or uuid.uuid4().hex
            call = Call(model, version, request_id, caller.key, latency_us, size, make)
            self._logger.add(call)


def _wanted(spec: model_pb2.ModelSpec) -> tuple[int | None, str]:
    kind = spec.WhichOneof("version_choice")
    return (spec.version.value if kind == "version" else None), spec.version_label


def _filled(message: _Response, asked: model_pb2.ModelSpec, version: int) -> _Response:
    """Sets the model that answered in a response, or in one of its results."""
    spec = cast("Any", message).model_spec
    spec.name = asked.name
    spec.version.value = version
    spec.signature_name = asked.signature_name or DEFAULT_SIGNATURE
    return message
