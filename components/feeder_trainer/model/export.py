"""Exports a trained model as a SavedModel for serving and as a Keras file for warm starts."""

import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

KERAS_FILE = "model.keras"
WEIGHTS_FILE = "model.weights.h5"


def export_serving(
    model: keras.Model,
    to_inputs: Callable[[tf.Tensor], Any],
    folder: str,
    *,
    track: tuple[Any, ...] = (),
) -> None:
    """Writes a SavedModel with two signatures.

    - ``serving_default``: serialized raw Examples, strings ``[batch]``, in an input ``examples``.
    - ``predict``: the inputs of the model by name, for clients that send tensors.

    Args:
        model: Trained model.
        to_inputs: Function that converts serialized raw Examples to the inputs of the model.
        folder: Folder of the SavedModel; created.
        track: Objects whose resources ``to_inputs`` uses, such as a Transform layer.
    """
    archive = keras.export.ExportArchive()
    archive.track(model)
    for resource in track:
        archive.track(resource)

    def serve_examples(examples: tf.Tensor) -> Any:
        return model(to_inputs(examples), training=False)

    examples = tf.TensorSpec([None], tf.string, name="examples")
    archive.add_endpoint("serving_default", serve_examples, [examples])
    specs = _input_specs(model)
    if specs is not None:
        archive.add_endpoint("predict", lambda inputs: model(inputs, training=False), [specs])
    archive.write_out(folder, verbose=False)


def required_raw_features(
    spec: Mapping[str, Any],
    transform: Callable[[dict[str, Any]], Mapping[str, Any]],
    model_features: Collection[str],
) -> dict[str, Any]:
    """Returns the specs of the raw features that the inputs of the model depend on.

    Prediction requests lack the other features, such as an id or the source of the label.

    Args:
        spec: ``tf.io`` spec of each raw feature by its name.
        transform: Function from a subset of the raw features to the transformed features that
            depend on this subset only.
        model_features: Features that reach the model.
    """
    required = dict(spec)

    def drop_unused(serialized: tf.Tensor) -> None:
        parsed = tf.io.parse_example(serialized, spec)
        for candidate in spec:
            rest = {key: parsed[key] for key in required if key != candidate}
            if rest and set(model_features) <= set(transform(rest)):
                del required[candidate]

    # Tracing is enough: nothing is computed.
    tf.function(drop_unused).get_concrete_function(tf.TensorSpec([None], tf.string))
    return required


def save_for_warm_start(model: keras.Model, folder: str | Path) -> Path:
    """Writes the model for ``load_warm_start``.

    Args:
        model: Trained model.
        folder: Folder of the file; created if needed.

    Returns:
        Path of a ``.keras`` file, or of a weights file if the model's class has no ``get_config``.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    try:
        model.save(path / KERAS_FILE)
        return path / KERAS_FILE
    except NotImplementedError:
        (path / KERAS_FILE).unlink(missing_ok=True)
        model.save_weights(path / WEIGHTS_FILE)
        return path / WEIGHTS_FILE


def load_warm_start(model: keras.Model, folder: str | Path) -> str | None:
    """Loads the weights that ``save_for_warm_start`` wrote.

    Args:
        model: Built model.
        folder: Folder of the file.

    Returns:
        ``None`` on success, else the reason of the failure, which leaves the model unchanged.
    """
    for name in (KERAS_FILE, WEIGHTS_FILE):
        path = Path(folder) / name
        if path.exists():
            break
    else:
        return f"it holds neither {KERAS_FILE} nor {WEIGHTS_FILE}, which FeederTrainer writes"
    before = model.get_weights()
    try:
        model.load_weights(path)
    except (OSError, zipfile.BadZipFile) as error:
        return f"{path.name} cannot be read: {error}"
    except (ValueError, KeyError) as error:
        model.set_weights(before)
        return f"its architecture differs: {str(error).splitlines()[0]}"
    return None


def _input_specs(model: keras.Model) -> Any:
    """Returns the input specs with an open batch dimension; ``None`` if undeclared."""
    inputs = getattr(model, "inputs", None)
    if not inputs:
        return None
    structure = getattr(model, "input", None)
    if isinstance(structure, Mapping):
        return {name: _open_spec(tensor, name) for name, tensor in structure.items()}
    specs = [_open_spec(tensor, tensor.name) for tensor in inputs]
    return specs if len(specs) > 1 else specs[0]


def _open_spec(tensor: Any, name: str) -> tf.TensorSpec:
    return tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name=name)
