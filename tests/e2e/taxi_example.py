"""The user code of TFX's taxi example, wide and deep: will the tip exceed a fifth of the fare?"""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

NUMBERS = ("trip_miles", "fare", "trip_seconds")
WORDS = ("payment_type", "company")
PLACES = ("pickup_latitude", "pickup_longitude", "dropoff_latitude", "dropoff_longitude")
CATEGORIES = {"trip_start_hour": 24, "trip_start_day": 31, "trip_start_month": 13}
TIPS = "tips"
LABEL = "tips_xf"
_BUCKETS, _WORDS, _OTHER_WORDS = 10, 100, 5


def preprocessing_fn(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Scales numbers, looks up words, puts places into buckets, and makes the label."""
    filled = {name: _fill_in_missing(value) for name, value in inputs.items()}
    outputs = {f"{name}_xf": tft.scale_to_z_score(filled[name]) for name in NUMBERS}
    for name in WORDS:
        outputs[f"{name}_xf"] = tft.compute_and_apply_vocabulary(
            filled[name], top_k=_WORDS, num_oov_buckets=_OTHER_WORDS
        )
    outputs |= {f"{name}_xf": tft.bucketize(filled[name], _BUCKETS) for name in PLACES}
    outputs |= {f"{name}_xf": filled[name] for name in CATEGORIES}
    tips, fare = filled[TIPS], filled["fare"]
    outputs[LABEL] = tf.cast(tips > 0.2 * fare, tf.int64)
    return outputs


def _fill_in_missing(value: Any) -> tf.Tensor:
    """Returns a sparse column of at most one value in a row as a dense one."""
    if not isinstance(value, tf.SparseTensor):
        return value
    column = tf.SparseTensor(value.indices, value.values, [value.dense_shape[0], 1])
    return tf.squeeze(tf.sparse.to_dense(column, "" if value.dtype == tf.string else 0), 1)


def model_fn(context: Any) -> keras.Model:
    """Builds the wide and deep model; ints are declared as in TFX's example, as int32."""
    numbers = {f"{name}_xf": keras.Input((1,), name=f"{name}_xf") for name in NUMBERS}
    depths = {
        **dict.fromkeys(WORDS, _WORDS + _OTHER_WORDS),
        **dict.fromkeys(PLACES, _BUCKETS),
        **CATEGORIES,
    }
    ids = {f"{name}_xf": keras.Input((1,), name=f"{name}_xf", dtype="int32") for name in depths}
    normalization = keras.layers.Normalization(axis=None)
    normalization.adapt(context.dataset().map(lambda features, label: features["fare_xf"]))
    numbers_scaled = [normalization(tensor) for tensor in numbers.values()]
    deep = keras.layers.Concatenate()(numbers_scaled)
    for width in (context.custom_config["width"], 8):
        deep = keras.layers.Dense(width, activation="relu")(deep)
    wide = [
        keras.layers.CategoryEncoding(depth)(ids[f"{name}_xf"]) for name, depth in depths.items()
    ]
    joined = keras.layers.Concatenate()([deep, *wide])
    output = keras.layers.Dense(1, activation="sigmoid")(joined)
    model = keras.Model({**numbers, **ids}, output)
    model.compile(
        keras.optimizers.Adam(0.001),
        "binary_crossentropy",
        metrics=[keras.metrics.BinaryAccuracy()],
    )
    return model


def callbacks_fn(context: Any) -> list[keras.callbacks.Callback]:
    """Returns a callback, as TFX's example does."""
    return [keras.callbacks.TerminateOnNaN()]
