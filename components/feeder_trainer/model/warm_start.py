"""Saves a trained model for warm starts, and loads its weights into another model."""

import itertools
import json
import os
import re
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras

from tfx_feeder.common.temporary import temporary_folder

KERAS_FILE = "model.keras"
WEIGHTS_FILE = "model.weights.h5"

_VARIABLES = "vars"
"""Group of the variables of a layer in a weights file, ``PATH/vars/INDEX``."""
_OPTIMIZER = "optimizer"
"""Group of the optimizer of a compiled model in a weights file, also of an inner model."""
_LORA_FACTORS = ("lora_kernel_a", "lora_embeddings_a")
"""Names of the first factors of low-rank updates, which begin at random; the second ones at 0."""
_CONFIG_FILE, _VOCABULARY_FILE = "config.json", "vocabulary.txt"
_COUNTER = re.compile(r"_\d+$")


def save_for_warm_start(model: keras.Model, folder: str | Path) -> Path:
    """Writes the model for ``load_warm_start``.

    Args:
        model: Trained model.
        folder: Folder of the file; created if needed.

    Returns:
        Path of a ``.keras`` file, or of a weights file if Keras cannot serialize the model's class,
        a layer, the loss or a metric.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    try:
        model.save(path / KERAS_FILE)
        return path / KERAS_FILE
    except OSError:
        raise
    except Exception:  # Of any type, because get_config is code of the user as well.
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
    with temporary_folder() as workspace:
        # Keras reads a file without a word if it holds more layers than the model, and it reads
        # the optimizer as well. The weights are therefore copied into a file of this model.
        saved = save_for_warm_start(model, Path(workspace) / "own")
        merged = _weights_file(saved)
        try:
            if difference := _vocabulary_difference(path, saved):
                return difference
            base_weights = _weights_file(path, Path(workspace) / "base")
            with h5py.File(base_weights) as base, h5py.File(merged, "a") as own:
                theirs, ours = _variables(base, excluded), _variables(own, excluded)
                difference = _difference(theirs, ours) or _order_difference(base, own)
                if difference:
                    return f"its architecture differs: {difference}"
                for variable in ours:
                    del own[variable]
                    base.copy(variable, own, name=variable)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            return f"{path.name} cannot be read: {error}"
        # Keras adds the product of low-rank factors (``enable_lora``) to a kernel that it saves,
        # and sets both to zero when it loads one. With both at zero, neither has a gradient.
        factors = [
            (v, keras.ops.convert_to_numpy(v)) for v in model.variables if v.name in _LORA_FACTORS
        ]
        model.load_weights(merged)
        for variable, value in factors:
            variable.assign(value)
    return None


def _weights_file(path: Path, folder: Path | None = None) -> Path:
    """Returns a weights file, which is extracted to a folder, by default that of the archive."""
    if path.name == WEIGHTS_FILE:
        return path
    with zipfile.ZipFile(path) as archive:
        return Path(archive.extract(WEIGHTS_FILE, folder or path.parent))


def _optimizers_and_metrics(model: keras.Model) -> set[str]:
    """Returns the groups of a weights file that hold no weights."""
    kinds = (keras.Optimizer, keras.Metric)
    return {_OPTIMIZER, *(name for name, value in vars(model).items() if isinstance(value, kinds))}


_Variables = dict[str, tuple[str, tuple[int, ...]]]
"""Name of the layer, and shape, of each variable by its path."""


def _variables(file: h5py.File, excluded: Collection[str]) -> _Variables:
    found: _Variables = {}

    def visit(path: str, item: h5py.Dataset | h5py.Group) -> None:
        first, *others = path.split("/")
        is_weight = first not in excluded and _OPTIMIZER not in others
        if isinstance(item, h5py.Dataset) and is_weight:
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


def _order_difference(base: h5py.File, model: h5py.File) -> str | None:
    """Describes the first layer whose place another named layer has taken.

    The layers of a functional model are told apart by kind and order. If two of a kind have changed
    places, the names that the user gave them say so.
    """
    theirs, ours = _named_layers(base), _named_layers(model)
    places = {name: path for path, name in ours.items()}
    for path, name in sorted(theirs.items()):
        place = places.get(name, path)
        if place != path and path in ours:
            return f"the layer {name} is {path} in the base model and {place} in this model"
    return None


def _named_layers(file: h5py.File) -> dict[str, str]:
    """Returns the names that the user gave to layers with weights, by path."""
    names: dict[str, str] = {}

    def visit(path: str, item: h5py.Dataset | h5py.Group) -> None:
        layer, _, group = path.rpartition("/")
        parent, _, kind = layer.rpartition("/")
        if group != _VARIABLES or not len(item) or parent.rpartition("/")[2] != "layers":
            return
        name = str(item.attrs.get("name", kind))
        if _COUNTER.sub("", name) != _COUNTER.sub("", kind):
            names[layer] = name

    file.visititems(visit)
    return names


def _vocabulary_difference(base: Path, model: Path) -> str | None:
    """Describes the first difference between vocabularies, by which embeddings are numbered.

    Args:
        base: File of the base model.
        model: File of the model. If one of both is a weights file, nothing is compared.
    """
    theirs, ours = _vocabularies(base), _vocabularies(model)
    for key in sorted(theirs.keys() & ours.keys()):
        layer, words = ours[key]
        for index, (one, other) in enumerate(itertools.zip_longest(theirs[key][1], words)):
            if str(one) != str(other):
                return (
                    f"entry {index} of the vocabulary of the layer {layer} is {one!r} in the base "
                    f"model and {other!r} in this model"
                )
    return None


def _vocabularies(path: Path) -> dict[str, tuple[str, list[Any]]]:
    """Returns the layers of a ``.keras`` file that have a vocabulary, in an order without names."""
    if path.name != KERAS_FILE:
        return {}
    with zipfile.ZipFile(path) as archive:
        given = _given_vocabularies(json.loads(archive.read(_CONFIG_FILE)))
        found = {f"given {number}": layer for number, layer in enumerate(given)}
        for name in archive.namelist():
            if os.path.basename(name) == _VOCABULARY_FILE:
                layer = os.path.dirname(name).removeprefix("assets/")
                found[layer] = layer, archive.read(name).decode().split("\n")
    return found


def _given_vocabularies(config: Any) -> Iterator[tuple[str, list[Any]]]:
    """Yields the name of each layer to which a vocabulary was passed, and the vocabulary."""
    if isinstance(config, dict):
        if isinstance(words := config.get("vocabulary"), list):
            yield str(config.get("name")), words
        config = list(config.values())
    if isinstance(config, list):
        for part in config:
            yield from _given_vocabularies(part)
