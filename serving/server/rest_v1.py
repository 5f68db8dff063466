"""TensorFlow Serving's REST API, version 1, without its transport."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf import json_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    regression_pb2,
)

from tfx_feeder.serving.server.errors import Code, ServingError, invalid
from tfx_feeder.serving.server.json_examples import read_examples
from tfx_feeder.serving.server.json_tensors import (
    dump,
    parse,
    read_inputs,
    read_instances,
    write_outputs,
    write_predictions,
)
from tfx_feeder.serving.server.predictor import SIGNATURES, Caller, Predictor
from tfx_feeder.serving.server.saved_model import SavedModel, Signature

_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)"
    r"(/versions/(?P<version>\d{1,19})|/labels/(?P<label>[^/:]+))?"
    r"(?P<action>:predict|:classify|:regress|/metadata)?"
)


@dataclass(frozen=True, slots=True)
class Target:
    """Model and action of a path.

    Args:
        spec: Model, version or label.
        action: ``:predict``, ``:classify``, ``:regress``, ``/metadata``, or nothing for the status.
    """

    spec: model_pb2.ModelSpec
    action: str

    @property
    def method(self) -> str:
        """HTTP method of the action."""
        return "POST" if self.action.startswith(":") else "GET"


def parse_path(path: str) -> Target:
    """Returns what a path names.

    Raises:
        ServingError: It is no path of the API.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        raise ServingError(Code.NOT_FOUND, f"Malformed request: {path[:200]}")
    spec = model_pb2.ModelSpec(name=match["name"])
    if match["version"]:
        number = int(match["version"])
        if number >= 2**63:
            raise invalid(f"version {number} has more than 64 bits")
        spec.version.value = number
    elif match["label"]:
        spec.version_label = match["label"]
    return Target(spec, match["action"] or "")


def answer(predictor: Predictor, target: Target, body: bytes, caller: Caller) -> bytes:
    """Returns the JSON document of an answer.

    Args:
        predictor: Answers the request.
        target: Path of the request.
        body: Body of the request; empty for the status and metadata.
        caller: Origin of the request.

    Raises:
        ServingError: The request cannot be answered.
    """
    if target.action == ":predict":
        return _predict(predictor, target.spec, parse(body), caller)
    if target.action == ":classify":
        return _classify(predictor, target.spec, parse(body), caller)
    if target.action == ":regress":
        return _regress(predictor, target.spec, parse(body), caller)
    if target.action == "/metadata":
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=target.spec, metadata_field=[SIGNATURES]
        )
        return _metadata(predictor.metadata(request, caller))
    return _status(predictor.status(target.spec))


def _predict(
    predictor: Predictor, spec: model_pb2.ModelSpec, body: Mapping[str, Any], caller: Caller
) -> bytes:
    rows, columns = "instances" in body, "inputs" in body
    if rows == columns:
        raise invalid("Missing 'inputs' or 'instances' key, or both are given")
    name = _signature_name(body)

    def read(model: SavedModel) -> tuple[Signature, Mapping[str, np.ndarray]]:
        signature = model.signature(name)
        if rows:
            return signature, read_instances(body["instances"], signature)
        return signature, read_inputs(body["inputs"], signature)

    _, outputs = predictor.predict_arrays(spec, "Predict", caller, read)
    arrays = list(outputs.values())
    if not rows:
        return dump({"outputs": write_outputs(outputs)}, arrays)
    return dump({"predictions": write_predictions(outputs, len(body["instances"]))}, arrays)


def _classify(
    predictor: Predictor, spec: model_pb2.ModelSpec, body: Mapping[str, Any], caller: Caller
) -> bytes:
    request = classification_pb2.ClassificationRequest(model_spec=spec, input=read_examples(body))
    request.model_spec.signature_name = _signature_name(body)
    found = predictor.classify(request, caller).result.classifications
    results = [[[each.label, np.float32(each.score)] for each in row.classes] for row in found]
    scores = np.array([score for row in results for _, score in row], np.float32)
    return dump({"results": results}, [scores])


def _regress(
    predictor: Predictor, spec: model_pb2.ModelSpec, body: Mapping[str, Any], caller: Caller
) -> bytes:
    request = regression_pb2.RegressionRequest(model_spec=spec, input=read_examples(body))
    request.model_spec.signature_name = _signature_name(body)
    found = predictor.regress(request, caller).result.regressions
    values = np.array([each.value for each in found], np.float32)
    return dump({"results": values}, [values])


def _signature_name(body: Mapping[str, Any]) -> str:
    name = body.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid("'signature_name' key must be a string value.")
    return name


def _metadata(response: get_model_metadata_pb2.GetModelMetadataResponse) -> bytes:
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata[SIGNATURES].Unpack(signatures)
    document = {
        "model_spec": {
            "name": response.model_spec.name,
            "signature_name": "",
            "version": str(response.model_spec.version.value),
        },
        "metadata": {
            SIGNATURES: json_format.MessageToDict(signatures, preserving_proto_field_name=True)
        },
    }
    return dump(document)


def _status(response: get_model_status_pb2.GetModelStatusResponse) -> bytes:
    document = json_format.MessageToDict(response, preserving_proto_field_name=True)
    for version in document.get("model_version_status", []):
        # The format of messages leaves out what is 0 or empty.
        status = {"error_code": "OK", "error_message": ""} | version.get("status", {})
        version["status"] = status
    return dump(document)
