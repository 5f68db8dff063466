"""Tensors in TensorFlow Serving's JSON: one value for each instance, or one for each input.

See "RESTful API" in the documentation of TensorFlow Serving. Text that is no UTF-8 is an object
``{"b64": …}``, and so is every output whose name ends with ``_bytes``.
"""

import base64
import binascii
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import tensorflow as tf

from tfx_feeder.serving.server.errors import Code, ServingError, invalid
from tfx_feeder.serving.server.saved_model import Signature
from tfx_feeder.serving.server.tensors import check_batch

_B64 = "b64"
_BYTES_SUFFIX = "_bytes"
_NON_FINITE = (b"NaN", b"Infinity")
_DEEPEST = 32
"""Deepest nesting of lists that NumPy makes an array of."""


def parse(body: bytes) -> dict[str, Any]:
    """Returns the object in a request's body.

    ``NaN`` and ``Infinity`` are read, as TensorFlow Serving does.

    Raises:
        ServingError: The body is no JSON object.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if not any(word in body for word in _NON_FINITE):
            raise invalid(f"JSON Parse error: {error}") from None
        try:
            value = json.loads(body)
        except (ValueError, RecursionError) as again:
            raise invalid(f"JSON Parse error: {again}") from None
    if not isinstance(value, dict):
        raise invalid("Request body must be a JSON object")
    return value


def read_instances(instances: Any, signature: Signature) -> dict[str, np.ndarray]:
    """Returns the inputs of a list of instances (row format).

    Args:
        instances: A value for each instance, or an object with a value for each input.
        signature: Signature with the names and types of the inputs.

    Raises:
        ServingError: A value does not fit the signature.
    """
    if not isinstance(instances, list) or not instances:
        raise invalid("'instances' must be a list of at least one value")
    if not isinstance(instances[0], dict) or _is_b64(instances[0]):
        return {_only_input(signature): read_array(instances, *_input(signature))}
    names = set(instances[0])
    for number, instance in enumerate(instances):
        if not isinstance(instance, dict) or set(instance) != names:
            raise invalid(f"instance {number}: expected an object with the inputs {sorted(names)}")
    arrays = {}
    for name in names:
        values = [instance[name] for instance in instances]
        arrays[name] = read_array(values, name, _type_of(signature, name))
    check_batch(arrays)
    return arrays


def read_inputs(inputs: Any, signature: Signature) -> dict[str, np.ndarray]:
    """Returns the inputs of an object with a tensor for each (column format).

    Args:
        inputs: Tensor of each input, or that of the only one.
        signature: Signature with the names and types of the inputs.

    Raises:
        ServingError: A value does not fit the signature.
    """
    if not isinstance(inputs, dict) or _is_b64(inputs):
        return {_only_input(signature): read_array(inputs, *_input(signature))}
    return {
        name: read_array(value, name, _type_of(signature, name)) for name, value in inputs.items()
    }


def write_predictions(outputs: Mapping[str, np.ndarray], instances: int) -> list[Any]:
    """Returns a value for each instance.

    Args:
        outputs: Outputs by name.
        instances: Number of instances of the request.

    Raises:
        ServingError: An output has no row for each instance.
    """
    if check_batch(outputs) != instances:
        raise ServingError(
            Code.INVALID_ARGUMENT,
            f"an output has {check_batch(outputs)} rows for {instances} instances; use 'inputs'",
        )
    columns = {name: _writable(name, array) for name, array in outputs.items()}
    if len(columns) == 1:
        return list(next(iter(columns.values())))
    return [{name: column[row] for name, column in columns.items()} for row in range(instances)]


def write_outputs(outputs: Mapping[str, np.ndarray]) -> Any:
    """Returns a tensor for each output, or that of the only one."""
    columns = {name: _writable(name, array) for name, array in outputs.items()}
    return next(iter(columns.values())) if len(columns) == 1 else columns


def dump(document: Mapping[str, Any], arrays: Collection[np.ndarray] = ()) -> bytes:
    """Returns a document as JSON.

    Args:
        document: Values of JSON and arrays.
        arrays: Arrays whose values decide whether ``NaN`` and ``Infinity`` are needed, which
            JSON lacks and TensorFlow Serving writes.
    """
    if all(np.isfinite(array).all() for array in arrays if array.dtype.kind == "f"):
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(document, default=_as_list).encode()


def _as_list(array: Any) -> Any:
    # The shortest decimal that is the same float32.
    if array.dtype == np.float32:
        text = array.astype(str).astype(object)
        return np.vectorize(float, otypes=[object])(text).tolist()
    return array.tolist()


def _writable(name: str, array: np.ndarray) -> Any:
    """Returns an array that orjson writes, or a list of text."""
    if array.dtype.kind in "OSU":
        return _text(array, as_bytes=name.endswith(_BYTES_SUFFIX))
    if array.dtype.kind == "c":
        raise ServingError(Code.UNIMPLEMENTED, f"output {name!r}: JSON has no complex numbers")
    if array.dtype.kind == "V" or array.dtype == np.float16:
        array = array.astype(np.float32)
    return np.ascontiguousarray(array)


def _text(array: np.ndarray, *, as_bytes: bool) -> Any:
    def written(value: Any) -> Any:
        data = value if isinstance(value, bytes) else str(value).encode()
        if not as_bytes:
            try:
                return data.decode()
            except UnicodeDecodeError:
                pass
        return {_B64: base64.b64encode(data).decode()}

    if array.ndim == 0:
        return written(array.item())
    return [_text(row, as_bytes=as_bytes) if array.ndim > 1 else written(row) for row in array]


def read_array(value: Any, name: str, dtype: tf.DType) -> np.ndarray:
    """Returns the array of nested lists.

    Args:
        value: Value, or lists of values.
        name: Name of the input, for errors.
        dtype: Type of the input.

    Raises:
        ServingError: A value is of another type or out of range, or lists differ in length.
    """
    if dtype == tf.string:
        return _text_array(value, name)
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise invalid(f"input {name!r}: {error}") from None
    allowed = "b" if dtype.is_bool else "iu" if dtype.is_integer else "iuf"
    if array.size and array.dtype.kind not in allowed:
        raise invalid(f"input {name!r}: expected {dtype.name}, received {_kind(array)}")
    wanted = dtype.as_numpy_dtype
    if dtype.is_integer and array.size:
        bounds = np.iinfo(wanted)
        if int(array.min()) < bounds.min or int(array.max()) > bounds.max:
            raise _out_of_range(name, dtype)
    with np.errstate(over="ignore"):
        found = array.astype(wanted)
    if dtype.is_floating and (np.isfinite(array) & ~np.isfinite(found)).any():
        raise _out_of_range(name, dtype)
    return found


def _out_of_range(name: str, dtype: tf.DType) -> ServingError:
    return invalid(f"input {name!r}: a value is out of the range of {dtype.name}")


def _kind(array: np.ndarray) -> str:
    kinds = {"b": "booleans", "i": "integers", "u": "integers", "f": "numbers", "U": "text"}
    return kinds.get(array.dtype.kind, "lists of different lengths, or objects")


def _text_array(value: Any, name: str) -> np.ndarray:
    shape: list[int] = []
    level = value
    while isinstance(level, list):
        shape.append(len(level))
        if len(shape) > _DEEPEST:
            raise invalid(f"input {name!r}: more than {_DEEPEST} dimensions")
        level = level[0] if level else None
    values: list[bytes] = []
    _collect(value, tuple(shape), name, values)
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape)


def _collect(value: Any, shape: Sequence[int], name: str, values: list[bytes]) -> None:
    if shape:
        if not isinstance(value, list) or len(value) != shape[0]:
            raise invalid(f"input {name!r}: lists of different lengths")
        for each in value:
            _collect(each, shape[1:], name, values)
    elif isinstance(value, str):
        values.append(value.encode())
    elif _is_b64(value):
        values.append(decode_b64(value))
    else:
        raise invalid(f"input {name!r}: expected text or {{'b64': …}}")


def _is_b64(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {_B64}


def decode_b64(value: Mapping[str, Any]) -> bytes:
    """Returns the bytes of an object ``{"b64": …}``.

    Raises:
        ServingError: The text is not in base 64.
    """
    try:
        return base64.b64decode(value[_B64], validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise invalid(f"Unable to base64 decode: {error}") from None


def _only_input(signature: Signature) -> str:
    return _input(signature)[0]


def _input(signature: Signature) -> tuple[str, tf.DType]:
    if len(signature.inputs) != 1:
        raise invalid(
            f"signature {signature.name!r} has the inputs {sorted(signature.inputs)}: "
            "name each of them"
        )
    name = next(iter(signature.inputs))
    return name, _type_of(signature, name)


def _type_of(signature: Signature, name: str) -> tf.DType:
    spec = signature.inputs.get(name)
    if spec is None:
        raise invalid(
            f"signature {signature.name!r} has no input {name!r}, but {sorted(signature.inputs)}"
        )
    return spec.dtype
