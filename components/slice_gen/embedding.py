"""Embedding of examples by a saved model: the input of its last dense layer."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tfx_feeder.common.errors import DataError

_DENSE = ("MatMul", "BatchMatMulV2")


class Embedding:
    """Function from examples to vectors.

    Args:
        folder: SavedModel.
        signature: Signature that takes serialized Examples.

    Raises:
        DataError: The model has no such signature, or no dense layer.
    """

    def __init__(self, folder: str, signature: str) -> None:
        # Its functions hold weak references to the variables.
        self._model = tf.saved_model.load(folder)
        signatures = self._model.signatures
        if signature not in signatures:
            raise DataError(f"The model in {folder} has no signature {signature!r}.")
        # Its functions are inlined, so that the layers are in one graph.
        frozen: Any = convert_variables_to_constants_v2(signatures[signature])
        tensor = _dense_input(frozen.graph, [output.op for output in frozen.outputs])
        if tensor is None:
            raise DataError(f"The model in {folder} has no dense layer before its output.")
        self._embed = frozen.prune(frozen.inputs, tensor)
        self._tables = _captured(signatures[signature], frozen.inputs[1:])

    def __call__(self, serialized: Sequence[bytes]) -> np.ndarray:
        """Returns the vectors, float32 ``[examples, dimensions]``, NaN where the model fails.

        Args:
            serialized: Serialized Examples.
        """
        try:
            found = self._embed(tf.constant(serialized), *self._tables).numpy()
        except tf.errors.OpError:
            if len(serialized) == 1:
                return np.full((1, 1), np.nan, np.float32)
            return _stacked([self([single]) for single in serialized])
        if found.shape[:1] != (len(serialized),):
            return np.full((len(serialized), 1), np.nan, np.float32)
        return found.reshape(len(serialized), -1).astype(np.float32)


def _captured(signature: Any, inputs: Sequence[Any]) -> list[Any]:
    """Returns what a signature captures beside variables, such as lookup tables."""
    own = signature.inputs[len(signature.inputs) - len(signature.captured_inputs) :]
    by_name = dict(zip((tensor.name for tensor in own), signature.captured_inputs, strict=True))
    return [by_name[tensor.name] for tensor in inputs]


def _stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    width = max(row.shape[1] for row in rows)
    return np.concatenate(
        [r if r.shape[1] == width else np.full((1, width), np.nan, np.float32) for r in rows]
    )


def _dense_input(graph: Any, outputs: Sequence[Any]) -> Any:
    """Returns the input of the dense layer nearest to the outputs; ``None`` without one."""
    waiting, seen = deque(outputs), set()
    while waiting:
        operation = waiting.popleft()
        if operation.name in seen:
            continue
        seen.add(operation.name)
        if operation.type in _DENSE:
            return operation.inputs[0]
        waiting.extend(tensor.op for tensor in operation.inputs)
    return None
