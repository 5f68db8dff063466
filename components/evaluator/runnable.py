"""Check that a saved model can predict the examples of an evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

EXAMPLES_TRIED = 16
"""Number of examples that a model is tried on."""
_SERVING = "serving_default"
_MAX_CHARACTERS = 300


def failure(folder: str, model_spec: Mapping[str, Any], serialized: Sequence[bytes]) -> str:
    """Returns why TensorFlow Model Analysis cannot evaluate a model.

    Signatures that take features instead of serialized Examples are not called, only looked for.

    Args:
        folder: SavedModel.
        model_spec: ``tfma.ModelSpec`` of the model in JSON types.
        serialized: Some serialized Examples.

    Returns:
        Reason in one line without a period; empty if the model can be evaluated.
    """
    try:
        model = tf.saved_model.load(folder)
    except (OSError, ValueError, tf.errors.OpError) as error:
        return f"it cannot be loaded: {_first_line(error)}"
    signatures = dict(model.signatures)
    for name in model_spec.get("preprocessing_function_names", ()):
        if name not in signatures and not hasattr(model, name):
            return f"it has no function {name!r}, only {', '.join(signatures) or 'none'}"
    name = model_spec.get("signature_name", "")
    if name and name not in signatures and not hasattr(model, name):
        return f"it has no signature {name!r}, only {', '.join(signatures) or 'none'}"
    signature = signatures.get(name or _SERVING)
    if signature is None or not serialized:
        return ""
    inputs = signature.structured_input_signature[1]
    if [spec.dtype for spec in inputs.values()] != [tf.string]:
        return _missing_feature(inputs, serialized)
    try:
        signature(**{key: tf.constant(list(serialized)) for key in inputs})
    except (ValueError, TypeError, tf.errors.OpError) as error:
        return f"it fails on the examples: {_first_line(error)}"
    return ""


def _missing_feature(inputs: Mapping[str, Any], serialized: Sequence[bytes]) -> str:
    features = {
        name for each in serialized for name in tf.train.Example.FromString(each).features.feature
    }
    missing = [name for name in inputs if name not in features]
    return f"it takes {', '.join(missing)}, which the examples lack" if missing else ""


def _first_line(error: Exception) -> str:
    """Returns the line of an error that tells its cause, without the places in the graph."""
    lines = [line.strip() for line in str(error).splitlines()] or [type(error).__name__]
    telling = (line for line in lines if "is required" in line or "Key:" in line)
    return next(telling, lines[0])[:_MAX_CHARACTERS].rstrip(". ")
