"""The Open Inference Protocol, version 2, by REST, without its transport.

The protocol of KServe, Triton and MLServer: https://github.com/kserve/open-inference-protocol.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import model_pb2

from tfx_feeder.serving.server.errors import Code, ServingError, invalid
from tfx_feeder.serving.server.json_tensors import dump, parse, read_array
from tfx_feeder.serving.server.predictor import Caller, Predictor
from tfx_feeder.serving.server.saved_model import TensorSpec

_PATH = re.compile(
    r"/v2/models/(?P<name>[^/]+)(/versions/(?P<version>\d{1,18}))?(?P<action>/ready|/infer)?"
)
_DATATYPES: Mapping[str, tf.DType] = {
    "BOOL": tf.bool,
    "UINT8": tf.uint8,
    "UINT16": tf.uint16,
    "UINT32": tf.uint32,
    "UINT64": tf.uint64,
    "INT8": tf.int8,
    "INT16": tf.int16,
    "INT32": tf.int32,
    "INT64": tf.int64,
    "FP16": tf.float16,
    "FP32": tf.float32,
    "FP64": tf.float64,
    "BYTES": tf.string,
}
_NAMES = {dtype: name for name, dtype in _DATATYPES.items()}


@dataclass(frozen=True, slots=True)
class Target:
    """Model and action of a path.

    Args:
        spec: Model and version.
        action: ``/infer``, ``/ready``, or nothing for the metadata.
    """

    spec: model_pb2.ModelSpec
    action: str

    @property
    def method(self) -> str:
        """HTTP method of the action."""
        return "POST" if self.action == "/infer" else "GET"


def parse_path(path: str) -> Target:
    """Returns what a path names.

    Raises:
        ServingError: It is no path of the protocol.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        raise ServingError(Code.NOT_FOUND, f"no such path: {path[:200]}")
    spec = model_pb2.ModelSpec(name=match["name"])
    if match["version"]:
        spec.version.value = int(match["version"])
    return Target(spec, match["action"] or "")


def answer(predictor: Predictor, target: Target, body: bytes, caller: Caller) -> bytes:
    """Returns the JSON document of an answer.

    Args:
        predictor: Answers the request.
        target: Path of the request.
        body: Body of the request; empty but for ``/infer``.
        caller: Origin of the request.

    Raises:
        ServingError: The request cannot be answered.
    """
    if target.action == "/infer":
        return _infer(predictor, target.spec, parse(body), caller)
    with predictor.observed(target.spec, "ModelMetadata", caller) as (number, model):
        if target.action == "/ready":
            return dump({"name": target.spec.name, "ready": True})
        signature = model.signature("")
        document = {
            "name": target.spec.name,
            "versions": [str(number)],
            "platform": "tensorflow_savedmodel",
            "inputs": [_described(name, info) for name, info in signature.inputs.items()],
            "outputs": [_described(name, info) for name, info in signature.outputs.items()],
        }
        return dump(document)


def _infer(
    predictor: Predictor, spec: model_pb2.ModelSpec, body: Mapping[str, Any], caller: Caller
) -> bytes:
    tensors = body.get("inputs")
    if not isinstance(tensors, list) or not tensors:
        raise invalid("'inputs' must be a list of at least one tensor")
    inputs = dict(_read(each) for each in tensors)
    if len(inputs) < len(tensors):
        raise invalid("'inputs' has an input twice")
    wanted = _wanted(body.get("outputs", []))
    parameters = body.get("parameters") or {}
    name = parameters.get("signature_name", "") if isinstance(parameters, dict) else ""
    if not isinstance(name, str):
        raise invalid("'signature_name' must be text")
    number, outputs = predictor.predict_arrays(
        spec, "ModelInfer", caller, lambda model: (model.signature(name), inputs), wanted
    )
    document = {
        "model_name": spec.name,
        "model_version": str(number),
        "outputs": [_written(name, array) for name, array in outputs.items()],
    }
    if isinstance(body.get("id"), str):
        document["id"] = body["id"]
    return dump(document, list(outputs.values()))


def _wanted(outputs: Any) -> list[str]:
    names = [each.get("name") if isinstance(each, dict) else None for each in outputs or []]
    if not all(isinstance(name, str) for name in names):
        raise invalid("'outputs' must be a list of objects with a name")
    return [str(name) for name in names]


def _read(tensor: Any) -> tuple[str, np.ndarray]:
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        raise invalid("an input must be an object with name, shape, datatype and data")
    name, shape = tensor["name"], tensor.get("shape")
    dtype = _DATATYPES.get(str(tensor.get("datatype")))
    if dtype is None:
        raise invalid(f"input {name!r}: expected a datatype of {', '.join(_DATATYPES)}")
    if not isinstance(shape, list) or not all(
        isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**63 for size in shape
    ):
        raise invalid(f"input {name!r}: 'shape' must be a list of sizes")
    array = read_array(tensor.get("data"), name, dtype)
    if array.size != math.prod(shape):
        raise invalid(f"input {name!r}: {array.size} values for the shape {shape}")
    return name, array.reshape(shape)


def _written(name: str, array: np.ndarray) -> dict[str, Any]:
    datatype = "BYTES" if array.dtype.kind in "OSU" else _NAMES.get(tf.as_dtype(array.dtype))
    if datatype is None:
        raise ServingError(Code.UNIMPLEMENTED, f"output {name!r}: no datatype for {array.dtype}")
    data: Any = np.ascontiguousarray(array).reshape(-1)
    if datatype == "BYTES":
        data = [_as_text(value) for value in data]
    elif datatype == "FP16":
        data = data.astype(np.float32)
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": data}


def _as_text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _described(name: str, spec: TensorSpec) -> dict[str, Any]:
    sizes = [-1] if spec.shape is None else [-1 if size is None else size for size in spec.shape]
    return {"name": name, "datatype": _NAMES.get(spec.dtype, "BYTES"), "shape": sizes}
