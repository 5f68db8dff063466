"""Small models of the kinds that Keras's guides train, each with its own small data.

Each case names the expected outcome of the modes that refuse it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions

EXAMPLES = 17
"""Examples of each case: with batches of 8, the last of an epoch leaves one replica without any."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """A model and the data that it is trained on.

    Args:
        make: Function that returns the compiled model.
        rows: Function of a random generator that returns the features of one Example.
        spec: ``tf.io`` spec of each feature by its name.
        feed: Options of the feed.
        cells: Expected outcome by mode; ``equal`` if not listed.
    """

    make: Callable[[], keras.Model]
    rows: Callable[[np.random.Generator], Row]
    spec: Mapping[str, Any]
    feed: FeedOptions = field(default_factory=lambda: FeedOptions(cache="none"))
    cells: Mapping[str, str] = field(default_factory=dict)

    def examples(self) -> list[Row]:
        """Returns the rows of the data set, always the same."""
        random = np.random.default_rng(7)
        return [self.rows(random) for _ in range(EXAMPLES)]


def _dense(size: int = 1, dtype: Any = tf.float32) -> tf.io.FixedLenFeature:
    return tf.io.FixedLenFeature([size] if size > 1 else [], dtype)


MODES_WITH_PARTS = (
    "micro-batches",
    "mirrored",
    "central_storage",
)
WHOLE_BATCHES = dict.fromkeys(MODES_WITH_PARTS, "refused")
"""Outcomes of a model that needs the whole batch in one pass."""

WORDS = ["feed", "the", "model", "with", "short", "and", "long", "texts"]


# Structured data: sparse, ragged and string features, each embedded by its own lookup.


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


# Vectors: the inputs of the models below.


def _vector_row(random: np.random.Generator) -> Row:
    x = random.normal(size=4)
    return {"x": x.tolist(), "label": float(x.sum() > 0)}


VECTOR = {"x": _dense(4), "label": _dense()}


def _inputs_and_features() -> tuple[Any, Any]:
    inputs = keras.Input((4,), name="x")
    return inputs, keras.layers.Dense(4, "tanh")(inputs)


class VariationalAutoencoder(keras.Model):
    """Trains with a step of its own, compiled without a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = keras.layers.Dense(4)
        self.decoder = keras.layers.Dense(4)
        self.seed_generator = keras.random.SeedGenerator(11)
        self.total = keras.metrics.Mean(name="total_loss")

    @property
    def metrics(self) -> list[keras.Metric]:
        """The model's own metrics only."""
        return [self.total]

    def call(self, inputs: Any) -> Any:
        """Returns the reconstruction of the inputs."""
        return self._decode(inputs)[0]

    def _decode(self, inputs: Any) -> tuple[Any, Any, Any]:
        mean, log_variance = keras.ops.split(self.encoder(inputs), 2, axis=-1)
        noise = keras.random.normal(keras.ops.shape(mean), seed=self.seed_generator)
        return self.decoder(mean + keras.ops.exp(log_variance / 2) * noise), mean, log_variance

    def _total_loss(self, x: Any) -> Any:
        decoded, mean, log_variance = self._decode(x)
        divergence = keras.ops.square(mean) + keras.ops.exp(log_variance) - log_variance - 1
        return keras.ops.mean((decoded - x) ** 2) + 0.1 * keras.ops.mean(divergence)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Returns the mean of the loss under its own name, and the loss of the batch."""
        x = data[0]
        with tf.GradientTape() as tape:
            loss = self._total_loss(x)
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        self.total.update_state(loss)
        return {"vae_loss": self.total.result(), "last_loss": loss}

    def test_step(self, data: Any) -> dict[str, Any]:
        """Returns the loss of the batch."""
        return {"vae_loss": self._total_loss(data[0])}


def _variational_autoencoder() -> keras.Model:
    model = VariationalAutoencoder()
    model.compile(keras.optimizers.Adam(0.01))
    return model


class Adversarial(keras.Model):
    """Trains a generator and a discriminator, each with its own optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = keras.Sequential([keras.layers.Dense(4, "tanh"), keras.layers.Dense(4)])
        self.discriminator = keras.Sequential(
            [keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)]
        )
        self.noise = keras.random.SeedGenerator(12)

    def compile(self, d_optimizer: Any, g_optimizer: Any) -> None:
        """Keeps the optimizers; the first is the one that schedules apply to."""
        super().compile(optimizer=d_optimizer)
        self.g_optimizer = g_optimizer

    def call(self, inputs: Any) -> Any:
        """Returns how real the inputs seem."""
        return self.discriminator(inputs)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Returns the losses of both."""
        real = data[0]
        noise = keras.random.normal(keras.ops.shape(real), seed=self.noise)
        loss_of = keras.losses.BinaryCrossentropy(from_logits=True)
        with tf.GradientTape() as d_tape, tf.GradientTape() as g_tape:
            fake = self.generator(noise)
            of_fake, of_real = self.discriminator(fake), self.discriminator(real)
            zeros, ones = keras.ops.zeros_like(of_fake), keras.ops.ones_like(of_real)
            d_loss = loss_of(zeros, of_fake) + loss_of(ones, of_real)
            g_loss = loss_of(ones, of_fake)
        for tape, loss, part, optimizer in (
            (d_tape, d_loss, self.discriminator, self.optimizer),
            (g_tape, g_loss, self.generator, self.g_optimizer),
        ):
            weights = part.trainable_weights
            optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return {"d_loss": d_loss, "g_loss": g_loss}

    def test_step(self, data: Any) -> dict[str, Any]:
        """Returns how real the real ones seem."""
        return {"realness": keras.ops.mean(self(data[0]))}


def _adversarial() -> keras.Model:
    model = Adversarial()
    model.compile(keras.optimizers.Adam(0.01), keras.optimizers.Adam(0.02))
    return model


class Distiller(keras.Model):
    """Trains a student on labels and on the outputs of a teacher; never calls itself."""

    def __init__(self) -> None:
        super().__init__()
        self.student = keras.Sequential([keras.layers.Dense(3, "relu"), keras.layers.Dense(1)])
        self.teacher = keras.layers.Dense(1, trainable=False)

    def call(self, inputs: Any) -> Any:
        """Returns the output of the student."""
        return self.student(inputs)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Returns the metrics and the loss of the distillation."""
        x, y = data
        target = self.teacher(x)
        with tf.GradientTape() as tape:
            y_pred = self.student(x, training=True)
            loss = self.compute_loss(x, y, y_pred) + keras.ops.mean((y_pred - target) ** 2)
        weights = self.student.trainable_weights
        gradients = tape.gradient(loss, weights)
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, y_pred)
        return {metric.name: metric.result() for metric in self.metrics} | {"distillation": loss}

    def test_step(self, data: Any) -> dict[str, Any]:
        """Returns the metrics of the student."""
        x, y = data
        return self.compute_metrics(x, y, self.student(x), None)


def _distiller() -> keras.Model:
    model = Distiller()
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"])
    return model


class Contrastive(keras.Model):
    """Compares the examples of a batch with one another in its loss."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True) -> Any:
        """Returns the loss of finding each example by a noisy copy of itself."""
        unit = keras.ops.normalize(y_pred, axis=-1)
        similarity = keras.ops.matmul(unit, keras.ops.transpose(unit)) / 0.5
        index = keras.ops.arange(keras.ops.shape(unit)[0])
        losses = keras.losses.sparse_categorical_crossentropy(index, similarity, from_logits=True)
        return keras.ops.mean(losses)


def _contrastive() -> keras.Model:
    inputs, x = _inputs_and_features()
    model = Contrastive(inputs, keras.layers.Dense(3)(x))
    model.compile(keras.optimizers.SGD(0.1))
    return model


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


CASES: dict[str, Case] = {
    "sparse, ragged and string features": Case(
        _tags_and_texts,
        _tags_and_texts_row,
        {
            "tags": tf.io.VarLenFeature(tf.int64),
            "text": tf.io.RaggedFeature(tf.string),
            "kind": _dense(dtype=tf.string),
            "label": _dense(),
        },
    ),
    "variational autoencoder, own steps": Case(
        _variational_autoencoder, _vector_row, VECTOR, cells=WHOLE_BATCHES
    ),
    "GAN, two optimizers": Case(_adversarial, _vector_row, VECTOR, cells=WHOLE_BATCHES),
    "distillation, inner models": Case(_distiller, _vector_row, VECTOR, cells=WHOLE_BATCHES),
    "contrastive loss": Case(_contrastive, _vector_row, VECTOR, cells=WHOLE_BATCHES),
    "several inputs and outputs": Case(
        _several_outputs,
        _several_outputs_row,
        {"x": _dense(4), "z": _dense(2), "price": _dense(), "kind": _dense(dtype=tf.int64)},
        FeedOptions(label_key={"price": "price", "kind": "kind"}, cache="none"),
    ),
}
