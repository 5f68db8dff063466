"""SavedModels, called by signature.

A session's callable is used, not the ConcreteFunction of ``tf.saved_model.load``: a call of a small
model takes a third of the time, and loading a fifth.
"""

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from tfx_feeder.serving.server.errors import Code, ServingError, from_tensorflow, invalid

PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
DEFAULT_SIGNATURE = "serving_default"
_INIT_OP = "__saved_model_init_op"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Tensor of a signature.

    Args:
        tensor: Name of the tensor in the graph.
        dtype: Type of its values.
        shape: Sizes, ``None`` where any will do; ``None`` for any shape.
    """

    tensor: str
    dtype: tf.DType
    shape: tuple[int | None, ...] | None

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Returns True if an array of this shape fits."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            wanted is None or wanted == size for wanted, size in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Signature:
    """Function of a SavedModel.

    Args:
        name: Name of the signature.
        method: ``tensorflow/serving/predict``, ``…/classify`` or ``…/regress``.
        inputs: Tensor of each input, in the order of the names.
        outputs: Tensor of each output, in the order of the names.
    """

    name: str
    method: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


class SavedModel:
    """Loaded SavedModel.

    Args:
        folder: Folder with ``saved_model.pb``.
        threads: Threads of an operation and between operations; 0 for one per core.

    Raises:
        ServingError: The model cannot be loaded, or has no signature.
    """

    def __init__(self, folder: Path, threads: int = 0) -> None:
        self.folder = folder
        config = config_pb2.ConfigProto(
            intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads
        )
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        try:
            with graph.as_default():
                loaded = tf.compat.v1.saved_model.load(
                    self._session, [tf.saved_model.SERVING], str(folder)
                )
        except (tf.errors.OpError, OSError, RuntimeError, ValueError) as error:
            self._session.close()
            raise ServingError(Code.INTERNAL, f"{folder.name} cannot be loaded: {error}") from error
        self.signature_defs = {
            name: definition
            for name, definition in loaded.signature_def.items()
            if name != _INIT_OP
        }
        self.signatures = {
            name: Signature(
                name, each.method_name or PREDICT, _specs(each.inputs), _specs(each.outputs)
            )
            for name, each in self.signature_defs.items()
        }
        self._callables: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._lock = threading.Lock()
        if not self.signatures:
            self._session.close()
            raise ServingError(Code.INTERNAL, f"{folder.name} has no signatures")

    def signature(self, name: str) -> Signature:
        """Returns a signature; an empty name is ``serving_default``.

        Raises:
            ServingError: The model has no such signature.
        """
        found = self.signatures.get(name or DEFAULT_SIGNATURE)
        if found is None:
            names = ", ".join(sorted(self.signatures))
            raise invalid(
                f"Serving signature name: {name or DEFAULT_SIGNATURE!r} not found in signature "
                f"def; there are: {names}"
            )
        return found

    def run(
        self,
        signature: Signature,
        inputs: Mapping[str, np.ndarray],
        outputs: Collection[str] = (),
    ) -> dict[str, np.ndarray]:
        """Returns the outputs of a signature.

        Args:
            signature: Signature of this model.
            inputs: Value of each input.
            outputs: Names of the outputs; empty for all.

        Raises:
            ServingError: An input or output does not exist, has another type or shape, or the model
                failed.
        """
        if unknown := set(outputs).difference(signature.outputs):
            names = ", ".join(sorted(unknown))
            raise invalid(f"output tensor alias not found in signature: {names}")
        fetched = tuple(sorted(set(outputs)) if outputs else signature.outputs)
        feeds = _checked(signature, inputs)
        try:
            values = self._callable(signature, fetched)(*feeds)
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from error
        except (TypeError, ValueError) as error:
            raise invalid(str(error)) from error
        return dict(zip(fetched, values, strict=True))

    def _callable(self, signature: Signature, outputs: tuple[str, ...]) -> Any:
        key = signature.name, outputs
        if (found := self._callables.get(key)) is not None:
            return found
        with self._lock:
            if key not in self._callables:
                options = config_pb2.CallableOptions(
                    feed=[spec.tensor for spec in signature.inputs.values()],
                    fetch=[signature.outputs[name].tensor for name in outputs],
                )
                # No public call of TensorFlow reuses what a session prepared.
                self._callables[key] = self._session._make_callable_from_options(options)
            return self._callables[key]

    def close(self) -> None:
        """Frees the memory of the model; no call may be in progress."""
        self._callables.clear()
        self._session.close()


def _checked(signature: Signature, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Returns the inputs in the order of their names."""
    if inputs.keys() != signature.inputs.keys():
        sent, expected = set(inputs), set(signature.inputs)
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(expected)} "
            f"len({{{','.join(sorted(sent))}}}) != len({{{','.join(sorted(expected))}}}). "
            f"Sent extra: {{{','.join(sorted(sent - expected))}}}. "
            f"Missing but required: {{{','.join(sorted(expected - sent))}}}."
        )
    feeds = []
    for name, spec in signature.inputs.items():
        array = inputs[name]
        if array.dtype != spec.dtype.as_numpy_dtype and not (
            spec.dtype == tf.string and array.dtype.kind in "OSU"
        ):
            received = "string" if array.dtype.kind in "OSU" else array.dtype.name
            raise invalid(f"input {name!r}: expected {spec.dtype.name}, received {received}")
        if not spec.accepts(array.shape):
            raise invalid(
                f"input {name!r}: expected the shape {list(spec.shape or ())}, received "
                f"{list(array.shape)}"
            )
        feeds.append(array)
    return feeds


def _specs(tensors: Mapping[str, meta_graph_pb2.TensorInfo]) -> dict[str, TensorSpec]:
    found = {}
    for name in sorted(tensors):
        info = tensors[name]
        shape = tf.TensorShape(info.tensor_shape)
        sizes = None if shape.rank is None else tuple(shape.as_list())
        found[name] = TensorSpec(info.name, tf.as_dtype(info.dtype), sizes)
    return found
