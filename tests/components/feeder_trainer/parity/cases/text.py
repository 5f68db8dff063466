"""Sequences of words: masked targets, targets that the steps make."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.components.feeder_trainer.parity.cases.case import WHOLE_BATCHES, Case, Row, dense
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions


def _tagger() -> keras.Model:
    words = keras.Input((5,), name="words", dtype="int64")
    x = keras.layers.Embedding(6, 3, mask_zero=True)(words)
    x = keras.layers.GRU(3, return_sequences=True)(x)
    model = keras.Model(words, keras.layers.Dense(4)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss, metrics=["accuracy"])
    return model


def _tagger_row(random: np.random.Generator) -> Row:
    words = random.integers(1, 6, 5)
    words[random.integers(1, 6) :] = 0
    return {"words": words.tolist(), "label": random.integers(0, 4, 5).tolist()}


class MaskedModeling(keras.Model):
    """Predicts words that its steps hide; the steps of Keras get targets that it made."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = keras.layers.Embedding(7, 3)
        self.out = keras.layers.Dense(7)
        self.seed_generator = keras.random.SeedGenerator(13)

    def call(self, inputs: Any) -> Any:
        """Returns scores of the words ``[batch, length, 7]``."""
        return self.out(self.embed(inputs))

    def _hidden(self, words: Any) -> tuple[Any, Any, Any]:
        is_hidden = keras.random.uniform(keras.ops.shape(words), seed=self.seed_generator) < 0.4
        return keras.ops.where(is_hidden, 0, words), words, keras.ops.cast(is_hidden, "float32")

    def train_step(self, data: Any) -> dict[str, Any]:
        """Hides words and trains on them."""
        return super().train_step(self._hidden(data))

    def test_step(self, data: Any) -> dict[str, Any]:
        """Hides words and evaluates on them."""
        return super().test_step(self._hidden(data))


def _masked_modeling() -> keras.Model:
    model = MaskedModeling()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss, weighted_metrics=["accuracy"])
    return model


CASES: dict[str, Case] = {
    "sequences with masked targets": Case(
        _tagger,
        _tagger_row,
        {"words": dense(5, tf.int64), "label": dense(5, tf.int64)},
        cells={mode: cell for mode, cell in WHOLE_BATCHES.items() if mode != "micro-batches"},
    ),
    "masked words without labels, own steps": Case(
        _masked_modeling,
        lambda random: {"words": random.integers(1, 7, 5).tolist()},
        {"words": dense(5, tf.int64)},
        FeedOptions(label_key=None, cache="none"),
        WHOLE_BATCHES,
    ),
}
