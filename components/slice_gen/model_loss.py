"""Loss of a model on each example, by its serving signature."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.slice_gen.options import ABSOLUTE_ERROR, ERROR, LossOptions

NO_LABEL = "the label is missing"
UNKNOWN_LABEL = "the label is no class of the model"
NOT_FINITE = "the prediction is not finite"
FAILED = "the model fails"
REASONS = (NO_LABEL, UNKNOWN_LABEL, NOT_FINITE, FAILED)
"""Reasons for examples without a loss."""
_MOST_FAILURES = 500
"""Examples on which a model that has never answered is tried one by one; then only batches are."""

_log = logging.getLogger(__name__)

Label = bytes | int | float


class ModelLoss:
    """Loss of the predictions of a saved model.

    Args:
        folder: SavedModel.
        options: Label and loss; the loss is not ``auto``.

    Raises:
        DataError: The model has no such signature or output, or takes no serialized Examples.
    """

    def __init__(self, folder: str, options: LossOptions) -> None:
        self._options = options
        self._model = tf.saved_model.load(folder)
        self._predict = _predictor(self._model, folder, options)
        self._failures, self._has_answered = 0, False
        self._classes = {name.encode(): number for number, name in enumerate(options.classes)}

    def __call__(
        self, serialized: Sequence[bytes], labels: Sequence[Label | None]
    ) -> tuple[np.ndarray, Counter[str]]:
        """Returns the losses, and the reasons for those that are missing.

        Args:
            serialized: Serialized Examples.
            labels: Label of each, or ``None``.

        Returns:
            Losses, float64 ``[examples]``, NaN if missing, and the number of examples by reason.
        """
        losses, reasons = np.full(len(serialized), np.nan), Counter[str]()
        predictions = self._predictions(serialized)
        for position, (label, prediction) in enumerate(zip(labels, predictions, strict=True)):
            if prediction is None:
                reasons[FAILED] += 1
            elif label is None:
                reasons[NO_LABEL] += 1
            elif not _is_finite(prediction):
                reasons[NOT_FINITE] += 1
            else:
                loss = self._loss(prediction, label)
                if loss is None or not np.isfinite(loss):
                    reasons[UNKNOWN_LABEL] += 1
                else:
                    losses[position] = loss
        return losses, reasons

    def _predictions(self, serialized: Sequence[bytes]) -> list[np.ndarray | None]:
        """Returns the predictions; an example on which the model fails does not affect others."""
        try:
            predictions = self._predict(tf.constant(serialized))
        except tf.errors.OpError as error:
            if len(serialized) == 1:
                if not self._failures:
                    _log.warning("the model fails on an example: %s", error)
                self._failures += 1
                return [None]
            if self._failures >= _MOST_FAILURES and not self._has_answered:
                return [None] * len(serialized)
            half = len(serialized) // 2
            return self._predictions(serialized[:half]) + self._predictions(serialized[half:])
        self._has_answered = True
        if predictions.shape[:1] != (len(serialized),):
            return [None] * len(serialized)
        return [np.reshape(prediction, -1) for prediction in predictions]

    def _loss(self, prediction: np.ndarray, label: Label) -> float | None:
        if self._options.kind != ERROR:
            if isinstance(label, bytes) or len(prediction) != 1:
                return None
            difference = float(prediction[0]) - label
            return abs(difference) if self._options.kind == ABSOLUTE_ERROR else difference**2
        if prediction.dtype.kind in "SO":  # The name of the class.
            return float(prediction[0] != label) if isinstance(label, bytes) else None
        number = self._classes.get(label) if isinstance(label, bytes) else label
        if prediction.dtype.kind in "iu" and len(prediction) == 1:
            return None if number is None else float(prediction[0] != number)
        if number is None or number not in range(max(len(prediction), 2)):
            return None
        single = len(prediction) == 1
        predicted = prediction[0] > self._options.threshold if single else prediction.argmax()
        return float(int(predicted) != number)


def _is_finite(prediction: np.ndarray) -> bool:
    return prediction.dtype.kind not in "fc" or bool(np.isfinite(prediction).all())


def _predictor(model: Any, folder: str, options: LossOptions) -> Callable[[tf.Tensor], np.ndarray]:
    signatures = dict(model.signatures)
    if options.signature not in signatures:
        raise DataError(
            f"The model in {folder} has no signature {options.signature!r}; it has "
            f"{', '.join(signatures) or 'none'}."
        )
    signature = signatures[options.signature]
    inputs = signature.structured_input_signature[1]
    if [spec.dtype for spec in inputs.values()] != [tf.string]:
        raise DataError(
            f"The signature {options.signature!r} of the model in {folder} takes "
            f"{', '.join(inputs) or 'nothing'} instead of serialized Examples."
        )
    outputs = signature.structured_outputs
    output = options.output or next(iter(outputs))
    if output not in outputs or (options.output is None and len(outputs) > 1):
        raise DataError(
            f"The signature {options.signature!r} of the model in {folder} has the outputs "
            f"{', '.join(sorted(outputs))}; set the option output to one of them."
        )
    (name,) = inputs
    return lambda serialized: signature(**{name: serialized})[output].numpy()
