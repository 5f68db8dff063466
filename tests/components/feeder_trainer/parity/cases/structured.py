"""Tables: sparse, ragged and string features, several inputs and outputs, embeddings."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.components.feeder_trainer.parity.cases.case import Case, Row, dense
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions

WORDS = ["feed", "the", "model", "with", "short", "and", "long", "texts"]


class TagsAndTexts(keras.Model):
    """Takes a sparse feature of ids, a ragged one of words, and a dense string."""

    def __init__(self) -> None:
        super().__init__()
        self.words = keras.layers.StringLookup(vocabulary=WORDS)
        self.embed = keras.layers.Embedding(len(WORDS) + 1, 3)
        self.tags = keras.layers.Embedding(10, 2)
        self.out = keras.layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        """Returns one value ``[batch, 1]`` for each example."""
        tags = tf.sparse.to_dense(inputs["tags"], default_value=9)
        text = self.words(inputs["text"].to_tensor("", shape=[None, 6]))
        kind = self.embed(self.words(inputs["kind"]))
        parts = [
            tf.reduce_sum(self.tags(tags) * tf.cast(tags < 9, tf.float32)[..., None], axis=1),
            tf.reduce_mean(self.embed(text), axis=1),
            kind,
        ]
        return self.out(tf.concat(parts, axis=-1))


def _tags_and_texts() -> keras.Model:
    model = TagsAndTexts()
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"])
    return model


def _tags_and_texts_row(random: np.random.Generator) -> Row:
    return {
        "tags": random.integers(0, 9, random.integers(0, 4)).tolist(),
        "text": random.choice(WORDS, random.integers(0, 6)).tolist(),
        "kind": str(random.choice(WORDS)),
        "label": float(random.normal()),
    }


def _structured() -> keras.Model:
    inputs = {
        "age": keras.Input((1,), name="age"),
        "city": keras.Input((1,), name="city", dtype="string"),
        "code": keras.Input((1,), name="code", dtype="int64"),
    }
    parts = [
        keras.layers.Normalization(mean=40.0, variance=100.0)(inputs["age"]),
        keras.layers.StringLookup(vocabulary=WORDS, output_mode="one_hot")(inputs["city"]),
        keras.layers.Hashing(4, output_mode="one_hot")(inputs["code"]),
    ]
    x = keras.layers.Dense(4, "relu")(keras.layers.Concatenate()(parts))
    model = keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(x))
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy", "mse"])
    return model


def _structured_row(random: np.random.Generator) -> Row:
    return {
        "age": float(random.normal(40, 10)),
        "city": str(random.choice(WORDS)),
        "code": int(random.integers(100)),
        "label": int(random.integers(2)),
    }


def _several_outputs() -> keras.Model:
    first, second = keras.Input((4,), name="x"), keras.Input((2,), name="z")
    x = keras.layers.Dense(4, "relu")(keras.layers.Concatenate()([first, second]))
    outputs = {
        "price": keras.layers.Dense(1, name="price")(x),
        "kind": keras.layers.Dense(3, "softmax", name="kind")(x),
    }
    model = keras.Model([first, second], outputs)
    model.compile(
        keras.optimizers.Adam(0.01),
        {"price": "mse", "kind": "sparse_categorical_crossentropy"},
        loss_weights={"price": 0.5, "kind": 1.0},
        metrics={"price": ["mae"], "kind": ["accuracy"]},
    )
    return model


def _several_outputs_row(random: np.random.Generator) -> Row:
    return {
        "x": random.normal(size=4).tolist(),
        "z": random.normal(size=2).tolist(),
        "price": float(random.normal()),
        "kind": int(random.integers(3)),
    }


class Recommender(keras.Model):
    """Multiplies the embeddings of users and items."""

    def __init__(self) -> None:
        super().__init__()
        self.users = keras.layers.Embedding(6, 3, embeddings_regularizer="l2")
        self.items = keras.layers.Embedding(8, 3)
        self.bias = keras.layers.Embedding(8, 1)

    def call(self, inputs: Any) -> Any:
        """Returns a rating ``[batch, 1]``."""
        user, item = self.users(inputs["user"]), self.items(inputs["item"])
        return keras.ops.sum(user * item, axis=-1, keepdims=True) + self.bias(inputs["item"])


def _recommender() -> keras.Model:
    model = Recommender()
    # Adaptive optimizers of Keras take the rows of a sparse gradient one by one, also those of the
    # same embedding; the sum over parts of a batch has one row for each embedding.
    model.compile(keras.optimizers.SGD(0.1), "mse", weighted_metrics=["mae"])
    return model


def _rating(random: np.random.Generator) -> Row:
    return {
        "user": int(random.integers(6)),
        "item": int(random.integers(8)),
        "label": float(random.integers(1, 6)),
        "weight": float(random.uniform(0.5, 2)),
    }


CASES: dict[str, Case] = {
    "sparse, ragged and string features": Case(
        _tags_and_texts,
        _tags_and_texts_row,
        {
            "tags": tf.io.VarLenFeature(tf.int64),
            "text": tf.io.RaggedFeature(tf.string),
            "kind": dense(dtype=tf.string),
            "label": dense(),
        },
    ),
    "structured data, preprocessing layers": Case(
        _structured,
        _structured_row,
        {
            "age": dense(),
            "city": dense(dtype=tf.string),
            "code": dense(dtype=tf.int64),
            "label": dense(dtype=tf.int64),
        },
    ),
    "several inputs and outputs": Case(
        _several_outputs,
        _several_outputs_row,
        {"x": dense(4), "z": dense(2), "price": dense(), "kind": dense(dtype=tf.int64)},
        FeedOptions(label_key={"price": "price", "kind": "kind"}, cache="none"),
        eval_batch_size=3,  # The parts of two replicas differ in size.
    ),
    "recommender, embeddings, sample weights": Case(
        _recommender,
        _rating,
        {
            "user": dense(dtype=tf.int64),
            "item": dense(dtype=tf.int64),
            "label": dense(),
            "weight": dense(),
        },
        FeedOptions(weight_key="weight", cache="none"),
    ),
}
