"""Answers to the requests of TensorFlow Serving's API, by whatever protocol they came."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from tfx_feeder.serving.server import operations
from tfx_feeder.serving.server.errors import invalid
from tfx_feeder.serving.server.metrics import Metrics
from tfx_feeder.serving.server.models import Models
from tfx_feeder.serving.server.saved_model import DEFAULT_SIGNATURE, SavedModel

_Response = TypeVar("_Response")
SIGNATURES = "signature_def"
"""The one kind of metadata."""


class Predictor:
    """Answers requests with the models of a server.

    Args:
        models: Models.
        metrics: Counters.
        most_bytes: Largest size of an input.
    """

    def __init__(self, models: Models, metrics: Metrics, most_bytes: int) -> None:
        self.models, self.metrics = models, metrics
        self._most_bytes = most_bytes

    def predict(
        self, request: predict_pb2.PredictRequest, entrypoint: str
    ) -> predict_pb2.PredictResponse:
        """Answers ``Predict``.

        Args:
            request: Request of TensorFlow Serving's API.
            entrypoint: ``GRPC`` or ``REST``.

        Raises:
            ServingError: The request cannot be answered.
        """

        def answer(model: SavedModel) -> predict_pb2.PredictResponse:
            return operations.predict(model, request, self._most_bytes)

        return self._answer(request.model_spec, "Predict", entrypoint, answer)

    def classify(
        self, request: classification_pb2.ClassificationRequest, entrypoint: str
    ) -> classification_pb2.ClassificationResponse:
        """Answers ``Classify``.

        Args:
            request: Request of TensorFlow Serving's API.
            entrypoint: ``GRPC`` or ``REST``.

        Raises:
            ServingError: The request cannot be answered.
        """

        def answer(model: SavedModel) -> classification_pb2.ClassificationResponse:
            result = operations.classify(model, request.model_spec.signature_name, request.input)
            return classification_pb2.ClassificationResponse(result=result)

        return self._answer(request.model_spec, "Classify", entrypoint, answer)

    def regress(
        self, request: regression_pb2.RegressionRequest, entrypoint: str
    ) -> regression_pb2.RegressionResponse:
        """Answers ``Regress``.

        Args:
            request: Request of TensorFlow Serving's API.
            entrypoint: ``GRPC`` or ``REST``.

        Raises:
            ServingError: The request cannot be answered.
        """

        def answer(model: SavedModel) -> regression_pb2.RegressionResponse:
            result = operations.regress(model, request.model_spec.signature_name, request.input)
            return regression_pb2.RegressionResponse(result=result)

        return self._answer(request.model_spec, "Regress", entrypoint, answer)

    def multi_inference(
        self, request: inference_pb2.MultiInferenceRequest, entrypoint: str
    ) -> inference_pb2.MultiInferenceResponse:
        """Answers ``MultiInference``.

        Args:
            request: Request of TensorFlow Serving's API.
            entrypoint: ``GRPC`` or ``REST``.

        Raises:
            ServingError: The request cannot be answered.
        """
        if not request.tasks:
            raise invalid("Inference request has no tasks")
        spec = request.tasks[0].model_spec
        with self.observed(spec, "MultiInference", entrypoint) as (number, model):
            response = operations.multi_inference(model, request)
            for task, result in zip(request.tasks, response.results, strict=True):
                _fill(result.model_spec, task.model_spec, number)
            return response

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, entrypoint: str
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Answers ``GetModelMetadata``.

        Args:
            request: Request of TensorFlow Serving's API.
            entrypoint: ``GRPC`` or ``REST``.

        Raises:
            ServingError: The request cannot be answered.
        """
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        if unknown := [field for field in request.metadata_field if field != SIGNATURES]:
            raise invalid(f"Metadata field {unknown[0]} is not supported")
        with self.observed(request.model_spec, "GetModelMetadata", entrypoint) as (number, model):
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
        self, spec: model_pb2.ModelSpec, api: str, entrypoint: str
    ) -> Iterator[tuple[int, SavedModel]]:
        """Holds the version that a request names, or the newest, and counts the request.

        Args:
            spec: Model, and version or label.
            api: Such as ``Predict``.
            entrypoint: ``GRPC`` or ``REST``.

        Yields:
            Number of the version and its model.

        Raises:
            ServingError: The version is not available.
        """
        if not spec.name:
            raise invalid("Missing ModelSpec")
        versions = self.models.get(spec.name)  # An unknown name makes no row of metrics.
        with (
            self.metrics.observe(spec.name, api, entrypoint),
            versions.acquire(*_wanted(spec)) as (number, model),
        ):
            yield number, model

    def _answer(
        self,
        spec: model_pb2.ModelSpec,
        api: str,
        entrypoint: str,
        answer: Callable[[SavedModel], _Response],
    ) -> _Response:
        with self.observed(spec, api, entrypoint) as (number, model):
            response: Any = answer(model)
            _fill(response.model_spec, spec, number)
            return response


def _wanted(spec: model_pb2.ModelSpec) -> tuple[int | None, str]:
    kind = spec.WhichOneof("version_choice")
    return (spec.version.value if kind == "version" else None), spec.version_label


def _fill(filled: model_pb2.ModelSpec, asked: model_pb2.ModelSpec, version: int) -> None:
    filled.name = asked.name
    filled.version.value = version
    filled.signature_name = asked.signature_name or DEFAULT_SIGNATURE
