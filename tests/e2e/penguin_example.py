"""The user code of TFX's penguin example: a network whose learning rate is tuned; the data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tfx import v1 as tfx

MEASUREMENTS = ("culmen_length_mm", "culmen_depth_mm", "flipper_length_mm", "body_mass_g")
SPECIES = "species"
LABEL = "species_xf"
TUNED = "learning_rate"
GOOD_RATE, HOPELESS_RATE = 0.02, 1e-6


def write_penguins(file: Path, count: int, *, labelled: bool = True) -> None:
    """Writes penguins of three species, each a cloud around other measurements.

    Args:
        file: CSV file to write.
        count: Number of penguins.
        labelled: True if a column names the species.
    """
    file.parent.mkdir()
    random = np.random.default_rng(count)
    species = np.arange(count) % 3
    typical = np.array([[39, 18, 190, 3700], [49, 18, 196, 3750], [47, 15, 217, 5100]])
    measured = random.normal(typical[species], [2, 1, 6, 350])
    columns = [*MEASUREMENTS, *([SPECIES] if labelled else [])]
    rows = [[*map(str, row), str(kind)] for row, kind in zip(measured, species, strict=True)]
    lines = [",".join(row[: len(columns)]) for row in [columns, *rows]]
    file.write_text("\n".join(lines) + "\n")


def preprocessing_fn(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Scales the measurements and passes the label through."""
    scaled = {f"{name}_xf": tft.scale_to_z_score(inputs[name]) for name in MEASUREMENTS}
    return {**scaled, LABEL: inputs[SPECIES]}


def model_fn(context: Any) -> keras.Model:
    """Builds the network with the best hyperparameters of the Tuner."""
    return _network(keras_tuner.HyperParameters.from_config(context.hyperparameters))


def tuner_fn(fn_args: tfx.components.FnArgs) -> tfx.components.TunerFnResult:
    """Compares two learning rates; one of them is hopeless."""
    space = keras_tuner.HyperParameters()
    space.Choice(TUNED, [HOPELESS_RATE, GOOD_RATE])
    space.Fixed("layers", 2)
    tuner = keras_tuner.GridSearch(
        _network,
        hyperparameters=space,
        max_trials=2,  # TFX asks the tuner for this many results.
        objective=keras_tuner.Objective("val_sparse_categorical_accuracy", "max"),
        directory=fn_args.working_dir,
        project_name="penguin",
    )
    spec = tft.TFTransformOutput(fn_args.transform_graph_path).transformed_feature_spec()

    def batches(files: list[str]) -> tf.data.Dataset:
        records = tf.data.TFRecordDataset(tf.io.gfile.glob(files), compression_type="GZIP")
        parsed = records.batch(20).map(lambda batch: tf.io.parse_example(batch, spec))
        return parsed.map(lambda features: (features, features[LABEL])).repeat()

    return tfx.components.TunerFnResult(
        tuner=tuner,
        fit_kwargs={
            "x": batches(fn_args.train_files),
            "validation_data": batches(fn_args.eval_files),
            "steps_per_epoch": fn_args.train_steps,
            "validation_steps": fn_args.eval_steps,
            "verbose": 0,
        },
    )


def _network(hyperparameters: Any) -> keras.Model:
    inputs = {f"{name}_xf": keras.Input((1,), name=f"{name}_xf") for name in MEASUREMENTS}
    x = keras.layers.Concatenate()(list(inputs.values()))
    for _ in range(hyperparameters.get("layers")):
        x = keras.layers.Dense(8, activation="relu")(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    model.compile(
        keras.optimizers.Adam(hyperparameters.get(TUNED)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    return model
