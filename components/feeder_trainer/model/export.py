"""Writing a trained model: a SavedModel that takes raw Examples, and a Keras file to go on from."""

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
    - ``predict``: the model's own inputs, by their names, for clients that hold tensors.

    Args:
        model: Built and trained.
        to_inputs: Turns serialized raw Examples into what the model is called with.
        folder: Of the SavedModel; made.
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
    wanted: Collection[str],
) -> dict[str, Any]:
    """Leaves out raw features that no model input depends on.

    Such as an id, or those of which Transform makes the label: who asks for a prediction has none.

    Args:
        spec: Raw features.
        transform: Given some raw features, returns those features that depend on no others.
        wanted: Features that reach the model.
    """
    needed = dict(spec)

    def leave_out(serialized: tf.Tensor) -> None:
        parsed = tf.io.parse_example(serialized, spec)
        for left_out in spec:
            rest = {key: parsed[key] for key in needed if key != left_out}
            if rest and set(wanted) <= set(transform(rest)):
                del needed[left_out]

    # Tracing is enough: nothing is computed.
    tf.function(leave_out).get_concrete_function(tf.TensorSpec([None], tf.string))
    return needed


def save_for_warm_start(model: keras.Model, folder: str | Path) -> Path:
    """Writes the model so that ``load_warm_start`` can read it.

    Returns:
        Path of a ``.keras`` file, or of the weights alone where the model's class has no
        ``get_config``.
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

    Returns:
        ``None`` if they were loaded, else why they could not be; the model is as it was then.
    """
    for name in (KERAS_FILE, WEIGHTS_FILE):
        path = Path(folder) / name
        if path.exists():
            break
    else:
        return f"it holds neither {KERAS_FILE} nor {WEIGHTS_FILE}; FeederTrainer writes them"
    before = model.get_weights()
    try:
        model.load_weights(path)
    except (OSError, zipfile.BadZipFile) as error:
        return f"{path.name} cannot be read: {error}"
    except (ValueError, KeyError) as error:
        model.set_weights(before)
        return f"its architecture is another: {str(error).splitlines()[0]}"
    return None


def _input_specs(model: keras.Model) -> Any:
    """Returns what the model takes, its batch dimension open; ``None`` if it does not say."""
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
