"""A tabular model on the Chicago taxi trips: will the tip exceed a fifth of the fare?"""

from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

NUMBERS = ["trip_miles", "trip_seconds", "fare"]
CATEGORY, LABEL = "payment_type", "big_tip"
BUCKETS = 10


def _dense(values: Any, default: Any) -> tf.Tensor:
    if isinstance(values, tf.SparseTensor):
        values = tf.sparse.to_dense(
            tf.SparseTensor(values.indices, values.values, [values.dense_shape[0], 1]), default
        )
    return tf.reshape(values, [-1])


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """Scales the numbers, indexes the category, and makes the label of tips and fare."""
    fare = tf.cast(_dense(inputs["fare"], 0), tf.float32)
    outputs = {
        name: tft.scale_to_z_score(tf.cast(_dense(inputs[name], 0), tf.float32)) for name in NUMBERS
    }
    outputs[CATEGORY] = tft.compute_and_apply_vocabulary(
        _dense(inputs[CATEGORY], ""), top_k=BUCKETS - 1, num_oov_buckets=1
    )
    tips = tf.cast(_dense(inputs["tips"], 0), tf.float32)
    outputs[LABEL] = tf.cast(tips > 0.2 * fare, tf.int64)
    return outputs


def model_fn(context: Any) -> keras.Model:
    """Takes its features by name."""
    inputs = {name: keras.Input((), name=name) for name in NUMBERS}
    inputs[CATEGORY] = keras.Input((), name=CATEGORY, dtype="int64")
    numbers = [keras.layers.Reshape((1,))(inputs[name]) for name in NUMBERS]
    category = keras.layers.Embedding(BUCKETS, 4)(inputs[CATEGORY])
    x = keras.layers.Concatenate()([*numbers, category])
    x = keras.layers.Dense(context.custom_config["width"], activation="relu")(x)
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def callbacks_fn(context: Any) -> list[keras.callbacks.Callback]:
    """A callback, to see that it is found beside ``model_fn``."""
    return [keras.callbacks.TerminateOnNaN()]
