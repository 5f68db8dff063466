"""Saves a trained model for warm starts, and loads its weights into another model."""

import tempfile
import zipfile
from collections.abc import Collection
from pathlib import Path

import h5py
import keras

KERAS_FILE = "model.keras"
WEIGHTS_FILE = "model.weights.h5"

_VARIABLES = "vars"
"""Group of the variables of a layer in a weights file, ``PATH/vars/INDEX``."""


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
    """Loads the weights that ``save_for_warm_start`` wrote; optimizers and metrics stay.

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
    excluded = _optimizers_and_metrics(model)
    with tempfile.TemporaryDirectory() as workspace:
        # Keras reads a file without a word if it holds more layers than the model, and it reads
        # the optimizer as well. The weights are therefore copied into a file of this model.
        merged = Path(workspace) / WEIGHTS_FILE
        model.save_weights(merged)
        try:
            with h5py.File(_weights_file(path, workspace)) as base, h5py.File(merged, "a") as own:
                theirs, ours = _variables(base, excluded), _variables(own, excluded)
                if difference := _difference(theirs, ours):
                    return f"its architecture differs: {difference}"
                for variable in ours:
                    del own[variable]
                    base.copy(variable, own, name=variable)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            return f"{path.name} cannot be read: {error}"
        model.load_weights(merged)
    return None


def _weights_file(path: Path, workspace: str) -> Path:
    if path.name == WEIGHTS_FILE:
        return path
    with zipfile.ZipFile(path) as archive:
        return Path(archive.extract(WEIGHTS_FILE, Path(workspace) / "base"))


def _optimizers_and_metrics(model: keras.Model) -> set[str]:
    """Returns the groups of a weights file that hold no weights."""
    kinds = (keras.Optimizer, keras.Metric)
    return {"optimizer", *(name for name, value in vars(model).items() if isinstance(value, kinds))}


_Variables = dict[str, tuple[str, tuple[int, ...]]]
"""Name of the layer, and shape, of each variable by its path."""


def _variables(file: h5py.File, excluded: Collection[str]) -> _Variables:
    found: _Variables = {}

    def visit(path: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and path.partition("/")[0] not in excluded:
            layer, _, _ = path.rpartition(f"/{_VARIABLES}/")
            found[path] = (str(item.parent.attrs.get("name", layer)), item.shape)

    file.visititems(visit)
    return found


def _difference(base: _Variables, model: _Variables) -> str | None:
    """Describes the first difference; ``None`` if there is none."""
    for path in sorted(base.keys() | model.keys()):
        if path not in model:
            layer, shape = base[path]
            return f"only the base model has {path} (layer {layer}), of the shape {shape}"
        layer, shape = model[path]
        if path not in base:
            return f"only this model has {path} (layer {layer}), of the shape {shape}"
        if base[path][1] != shape:
            return (
                f"{path} (layer {layer}) has the shape {base[path][1]} in the base model and "
                f"{shape} in this model"
            )
    return None
