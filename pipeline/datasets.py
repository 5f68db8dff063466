"""Data sets of the reference pipeline: built-in ones, and folders of the user."""

import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tfx_feeder.common.errors import ConfigError, DataError
from tfx_feeder.common.files import atomic_path
from tfx_feeder.common.validation import is_text
from tfx_feeder.components.eval_gate.gate import Gate
from tfx_feeder.components.image_example_gen.sources import class_table, open_sources
from tfx_feeder.pipeline.eval_config import METRIC, gate_for_classes, make_gate
from tfx_feeder.pipeline.span_folders import (
    claim_pipeline_name,
    pipeline_name,
    span_pattern,
    spans_in,
)

SCHEMAS = Path(__file__).resolve().parent.parent / "schemas"
SPAN_PATTERN = "span-{SPAN}/*"
DEFAULT = "digits"
# The rows of scikit-learn's digits come from 14 handwritten forms, one after another.
DIGITS_FORMS = (0, 130, 256, 386, 516, 646, 776, 915, 1029, 1157, 1287, 1415, 1545, 1667, 1797)
_DIGITS_SPANS = (range(0, 5), range(5, 10), range(10, 14))


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labeled images on disk, in a format that ImageExampleGen reads.

    Args:
        name: Name of the data set and of the pipeline.
        folder: Folder of the images.
        classes: Class names in index order.
        spans: Numbers of the folders ``span-<number>``; empty for data without spans.
        patterns: Patterns of given splits by split name; without them, the images are split by
            their hash.
        slice_keys: Columns whose values are the evaluation slices.
        schema: Folder of the curated schema; if ``None``, the schema is inferred.
        gate: Conditions under which a model is blessed.
        source: Format of the images and what is passed over; empty for built-in data sets.

    Raises:
        ConfigError: ``gate`` is not a ``Gate``, or a threshold is no accuracy.
    """

    name: str
    folder: Path
    classes: tuple[str, ...]
    spans: tuple[int, ...] = ()
    patterns: Mapping[str, str] = field(default_factory=dict)
    slice_keys: tuple[str, ...] = ("label",)
    schema: Path | None = None
    gate: Gate = field(default_factory=make_gate)
    source: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.gate, Gate):
            raise ConfigError("gate", received=self.gate, expected="a Gate")
        for rule in (*self.gate.floors, *self.gate.margins):
            if rule.metric == METRIC and not 0 <= rule.value <= 1:
                raise ConfigError(
                    f"{METRIC} of the gate", received=rule, expected="a value from 0 to 1"
                )


def open_data_set(name_or_path: str, download_to: Path) -> Dataset:
    """Opens a built-in data set or a folder.

    Args:
        name_or_path: Name of a built-in data set, or a folder.
        download_to: Folder for the built-in data sets.

    Raises:
        ConfigError: The data set or folder does not exist.
        DataError: The folder has no usable images, or the download failed.
    """
    if name_or_path in BUILT_IN:
        return BUILT_IN[name_or_path](download_to / name_or_path)
    folder = Path(os.path.expanduser(name_or_path))
    if not folder.is_dir():
        raise ConfigError(
            "data",
            received=name_or_path,
            expected=f"{', '.join(BUILT_IN)}, or a folder that exists",
        )
    return own_folder(folder.resolve(), download_to)


def digits(folder: Path) -> Dataset:
    """Returns scikit-learn's handwritten digits, 8 x 8 gray, in three spans of forms."""
    for span, forms in enumerate(_DIGITS_SPANS, start=1):
        target = folder / f"span-{span}" / "digits.npz"
        if not zipfile.is_zipfile(target):
            _save(target, **_digits_of(forms))
    return Dataset(
        name="digits",
        folder=folder,
        classes=tuple(map(str, range(10))),
        spans=tuple(range(1, len(_DIGITS_SPANS) + 1)),
        slice_keys=("label", "form"),
        schema=SCHEMAS / "digits",
    )


def cifar10(folder: Path) -> Dataset:
    """Returns the CIFAR-10 images, 32 x 32 color, from ``keras.datasets``."""
    names = "airplane automobile bird cat deer dog frog horse ship truck"
    return _from_keras("cifar10", folder, names.split(), make_gate(0.5, 0.2))


def fashion_mnist(folder: Path) -> Dataset:
    """Returns the Fashion-MNIST images, 28 x 28 gray, from ``keras.datasets``."""
    names = "t-shirt trouser pullover dress coat sandal shirt sneaker bag ankle-boot"
    return _from_keras("fashion_mnist", folder, names.split(), make_gate(0.75, 0.3))


BUILT_IN: dict[str, Callable[[Path], Dataset]] = {
    "digits": digits,
    "cifar10": cifar10,
    "fashion_mnist": fashion_mnist,
}


def own_folder(folder: Path, data_root: Path) -> Dataset:
    """Returns a folder as a data set: any ImageExampleGen source, or ``span-<number>`` folders.

    Args:
        folder: Absolute path of the folder.
        data_root: Folder in which the root records the folder of each pipeline.

    Raises:
        ConfigError: The folder holds the outputs of the pipeline, or its path is not UTF-8.
        DataError: The folder has no usable images, or fewer than two classes.
    """
    if not is_text(str(folder)):
        raise ConfigError(
            "data", received=str(folder), expected="a path in UTF-8", fix="Rename it."
        )
    spans = spans_in(folder)
    if not spans and data_root.resolve().is_relative_to(folder):
        raise ConfigError(
            "data",
            received=str(folder),
            expected="a folder without the outputs of the pipeline, which are no images",
            fix="Choose a --root outside of it.",
        )
    patterns = [span_pattern(folder, span) for span in spans] or ["*"]
    # Opened together, the spans would be splits, such as the halves of a Keras file.
    sources = {each: open_sources(str(folder), {"all": each})["all"] for each in patterns}
    table = class_table(sources)
    name = pipeline_name(folder, data_root)
    claim_pipeline_name(name, folder, data_root)
    return Dataset(
        name=name,
        folder=folder,
        classes=table.names,
        spans=spans,
        gate=gate_for_classes(len(table.names)),
        source="; ".join(dict.fromkeys(source.describe() for source in sources.values())),
    )


def _digits_of(forms: range) -> dict[str, np.ndarray]:
    from sklearn.datasets import load_digits  # Takes two seconds that other data sets do not need.

    bunch: Any = load_digits()
    rows = slice(DIGITS_FORMS[forms.start], DIGITS_FORMS[forms.stop])
    return {
        "images": np.round(bunch.images[rows] * (255 / 16)).astype(np.uint8),
        "labels": bunch.target[rows].astype(np.int64),
        "form": np.repeat(forms, np.diff(DIGITS_FORMS[forms.start : forms.stop + 1])),
    }


def _from_keras(name: str, folder: Path, classes: Sequence[str], gate: Gate) -> Dataset:
    patterns = {"train": "train.npz", "eval": "eval.npz"}
    if not all(zipfile.is_zipfile(folder / file) for file in patterns.values()):
        import keras

        try:
            parts = getattr(keras.datasets, name).load_data()
        except Exception as error:
            raise DataError(
                f"{name} could not be downloaded: {error}. The first use needs internet access; "
                "without it, use digits, or a folder of your own: --data FOLDER."
            ) from error
        for file, (images, labels) in zip(patterns.values(), parts, strict=True):
            _save(folder / file, images=images, labels=labels.reshape(-1).astype(np.int64))
    return Dataset(name, folder, tuple(classes), patterns=patterns, gate=gate)


def _save(target: Path, **arrays: np.ndarray) -> None:
    """Writes an ``.npz`` file atomically."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as partial:
        np.savez(partial, **arrays)
