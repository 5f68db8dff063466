"""Predict, classify and regress on one SavedModel, as TensorFlow Serving defines them."""

from collections.abc import Sequence

import numpy as np
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    input_pb2,
    predict_pb2,
    regression_pb2,
)

from tfx_feeder.serving.server.errors import Code, ServingError, invalid
from tfx_feeder.serving.server.saved_model import CLASSIFY, REGRESS, SavedModel, Signature
from tfx_feeder.serving.server.tensors import to_array, to_proto

INPUTS, CLASSES, SCORES, REGRESSION = "inputs", "classes", "scores", "outputs"
"""Names of the tensors of classify and regress signatures."""


def predict(
    model: SavedModel, request: predict_pb2.PredictRequest, most_bytes: int
) -> predict_pb2.PredictResponse:
    """Answers a request with tensors; the caller fills in the model.

    Args:
        model: Model to call.
        request: Inputs, signature and wanted outputs.
        most_bytes: Largest size of an input.

    Raises:
        ServingError: The request does not fit the signature, or the model failed.
    """
    signature = model.signature(request.model_spec.signature_name)
    inputs = {name: to_array(name, each, most_bytes) for name, each in request.inputs.items()}
    outputs = model.run(signature, inputs, request.output_filter)
    response = predict_pb2.PredictResponse()
    for name, array in outputs.items():
        response.outputs[name].CopyFrom(to_proto(array))
    return response


def classify(
    model: SavedModel, signature_name: str, examples: input_pb2.Input
) -> classification_pb2.ClassificationResult:
    """Returns classes and scores of each example.

    Args:
        model: Model to call.
        signature_name: Signature with the method ``classify``.
        examples: Examples.

    Raises:
        ServingError: The signature has another method, or its outputs another shape.
    """
    signature = _signature(model, signature_name, CLASSIFY, "classification")
    serialized = _serialized(examples)
    found = model.run(signature, {INPUTS: serialized})
    classes, scores = found.get(CLASSES), found.get(SCORES)
    if classes is None and scores is None:
        raise _wrong_signature(signature, f"outputs {CLASSES!r} or {SCORES!r}")
    shapes = {each.shape for each in (classes, scores) if each is not None}
    shape = shapes.pop()
    if shapes or len(shape) != 2 or shape[0] != len(serialized):
        raise ServingError(
            Code.INVALID_ARGUMENT,
            f"expected outputs [{len(serialized)}, classes] of signature {signature.name!r}",
        )
    result = classification_pb2.ClassificationResult()
    for row in range(shape[0]):
        added = result.classifications.add()
        for column in range(shape[1]):
            each = added.classes.add()
            if classes is not None:
                label = classes[row, column]
                each.label = label.decode("utf-8", "replace") if isinstance(label, bytes) else label
            if scores is not None:
                each.score = scores[row, column]
    return result


def regress(
    model: SavedModel, signature_name: str, examples: input_pb2.Input
) -> regression_pb2.RegressionResult:
    """Returns the value of each example.

    Args:
        model: Model to call.
        signature_name: Signature with the method ``regress``.
        examples: Examples.

    Raises:
        ServingError: The signature has another method, or its output another shape.
    """
    signature = _signature(model, signature_name, REGRESS, "regression")
    serialized = _serialized(examples)
    values = model.run(signature, {INPUTS: serialized}).get(REGRESSION)
    if values is None:
        raise _wrong_signature(signature, f"an output {REGRESSION!r}")
    if values.shape not in ((len(serialized),), (len(serialized), 1)):
        raise invalid(
            f"expected an output [{len(serialized)}] of signature {signature.name!r}, "
            f"received {list(values.shape)}"
        )
    regressions = [regression_pb2.Regression(value=value) for value in values.reshape(-1)]
    return regression_pb2.RegressionResult(regressions=regressions)


def multi_inference(
    model: SavedModel, request: inference_pb2.MultiInferenceRequest
) -> inference_pb2.MultiInferenceResponse:
    """Answers several classifications and regressions of the same examples.

    Args:
        model: Model to call.
        request: Examples and tasks, all of the same model.

    Raises:
        ServingError: A task is of another model or has another method.
    """
    if not request.tasks:
        raise invalid("Inference request has no tasks")
    if len({task.model_spec.name for task in request.tasks}) > 1:
        raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
    response = inference_pb2.MultiInferenceResponse()
    for task in request.tasks:
        result = response.results.add()
        name = task.model_spec.signature_name
        if task.method_name == CLASSIFY:
            found = classify(model, name, request.input)
            result.classification_result.CopyFrom(found)
        elif task.method_name == REGRESS:
            result.regression_result.CopyFrom(regress(model, name, request.input))
        else:
            raise ServingError(
                Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}"
            )
    return response


def signature_map(model: SavedModel) -> get_model_metadata_pb2.SignatureDefMap:
    """Returns the signatures of a model."""
    found = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in model.signature_defs.items():
        found.signature_def[name].CopyFrom(definition)
    return found


def _signature(model: SavedModel, name: str, method: str, kind: str) -> Signature:
    signature = model.signature(name)
    if signature.method != method:
        raise invalid(
            f"Expected {kind} signature method_name to be {method}. Was: {signature.method}"
        )
    if set(signature.inputs) != {INPUTS}:
        raise _wrong_signature(signature, f"one input {INPUTS!r}")
    return signature


def _wrong_signature(signature: Signature, expected: str) -> ServingError:
    return ServingError(
        Code.FAILED_PRECONDITION, f"signature {signature.name!r}: expected {expected}"
    )


def _serialized(examples: input_pb2.Input) -> np.ndarray:
    kind = examples.WhichOneof("kind")
    found: Sequence[bytes] = ()
    if kind == "example_list":
        found = [each.SerializeToString() for each in examples.example_list.examples]
    elif kind == "example_list_with_context":
        context = examples.example_list_with_context.context
        found = []
        for each in examples.example_list_with_context.examples:
            merged = type(each)()
            merged.CopyFrom(context)
            for name, feature in each.features.feature.items():
                merged.features.feature[name].CopyFrom(feature)
            found.append(merged.SerializeToString())
    if not found:
        raise invalid("Input is empty.")
    return np.array(found, object)
