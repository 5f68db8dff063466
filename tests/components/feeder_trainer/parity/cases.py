"""Small models of the kinds that Keras's guides train, each with its own small data.

Each case names the expected outcome of the modes that refuse it, by the words of the error, or
that compute something else by nature: BatchNormalization and random layers see parts of a batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image

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
        cells: Expected outcome, or outcomes, by mode; ``equal`` if not listed.
        eval_batch_size: Examples in a validation batch.
    """

    make: Callable[[], keras.Model]
    rows: Callable[[np.random.Generator], Row]
    spec: Mapping[str, Any]
    feed: FeedOptions = field(default_factory=lambda: FeedOptions(cache="none"))
    cells: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    eval_batch_size: int = 16

    def examples(self) -> list[Row]:
        """Returns the rows of the data set, always the same."""
        random = np.random.default_rng(7)
        return [self.rows(random) for _ in range(EXAMPLES)]


def _dense(size: int = 1, dtype: Any = tf.float32) -> tf.io.FixedLenFeature:
    return tf.io.FixedLenFeature([size] if size > 1 else [], dtype)


AVERAGED = ("weight", "equal")
"""Outcomes of peer averaging, whose workers train on batches of their own between exchanges."""
MODES_WITH_PARTS = (
    "micro-batches",
    "mirrored",
    "central_storage",
    "multi_worker",
    "parameter_server_sync",
)
WHOLE_BATCHES = dict.fromkeys(MODES_WITH_PARTS, "refused")
"""Outcomes of a model that needs the whole batch in one pass."""
BY_PART = dict.fromkeys(WHOLE_BATCHES, "weight")
"""Outcomes of a model whose layers normalize or draw by part of a batch: the weights differ."""

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


# Structured data: normalized numbers, looked-up and hashed categories.


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


# Images: augmentation and batch normalization.


def _image() -> keras.Model:
    image = keras.Input((4, 4, 1), name="image", dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.RandomFlip(seed=3)(keras.layers.RandomContrast(0.2, seed=4)(x))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(2, 3)(x))
    x = keras.layers.Dropout(0.2, seed=5)(keras.layers.Flatten()(x))
    model = keras.Model(image, keras.layers.Dense(3)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
    return model


def _pixels(random: np.random.Generator) -> bytes:
    return random.integers(0, 256, (4, 4, 1), np.uint8).tobytes()


def _image_row(random: np.random.Generator) -> Row:
    return {"image": _pixels(random), "label": int(random.integers(3))}


IMAGE_FEED = FeedOptions(images={"image": Image(4, 4, 1)}, cache="none")


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


def _variational_autoencoder(**compiled: Any) -> keras.Model:
    model = VariationalAutoencoder()
    model.compile(keras.optimizers.Adam(0.01), **compiled)
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


class OwnMetrics(keras.Model):
    """Adds a log of its own, and keeps its loss in a metric of its own."""

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict:
        """Returns the metrics and the mean output of the last batch."""
        logs = super().compute_metrics(x, y, y_pred, sample_weight)
        return {**logs, "mean_output": keras.ops.mean(y_pred)}


class OwnLossTracker(keras.Model):
    """Reports its loss by a metric of its own, named as that of Keras."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tracker = keras.metrics.Mean(name="loss")

    @property
    def metrics(self) -> list[keras.Metric]:
        """The model's own metric only."""
        return [self.tracker]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True) -> Any:
        """Returns the mean squared error and keeps it."""
        loss = keras.ops.mean((y_pred - keras.ops.reshape(y, (-1, 1))) ** 2)
        self.tracker.update_state(loss)
        return loss


def _regression(of: type[keras.Model] = keras.Model, **compiled: Any) -> keras.Model:
    inputs, x = _inputs_and_features()
    model = of(inputs, keras.layers.Dense(1)(x))
    model.compile(**{"optimizer": keras.optimizers.SGD(0.1), "loss": "mse"} | compiled)
    return model


class PythonSteps(keras.Model):
    """Reads values in Python, which only eager steps can."""

    def train_step(self, data: Any) -> dict[str, Any]:
        """Weights the examples in Python."""
        x, y = data
        weights = [2.0 if label == 1 else 0.5 for label in y.numpy()]
        return {**super().train_step((x, y, tf.constant(weights))), "weight": sum(weights)}


def _eager() -> keras.Model:
    return _regression(PythonSteps, run_eagerly=True)


def _activity() -> keras.Model:
    inputs, x = _inputs_and_features()
    x = keras.layers.Dense(3, activity_regularizer="l2", kernel_regularizer="l2")(x)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


class MeanPenalty(keras.layers.Layer):
    """Adds the mean square of its inputs to the loss."""

    def call(self, inputs: Any) -> Any:
        """Returns the inputs."""
        self.add_loss(0.1 * keras.ops.mean(inputs**2))
        return inputs


def _added_loss() -> keras.Model:
    inputs, x = _inputs_and_features()
    model = keras.Model(inputs, keras.layers.Dense(1)(MeanPenalty()(x)))
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"])
    return model


def _vector_metrics() -> keras.Model:
    inputs, x = _inputs_and_features()
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))
    metrics = [keras.metrics.F1Score(average=None, name="f1")]
    model.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy", metrics=metrics)
    return model


def _one_hot_row(random: np.random.Generator) -> Row:
    label = np.eye(3)[random.integers(3)]
    return {"x": random.normal(size=4).tolist(), "label": label.tolist()}


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


class UnlabeledAutoencoder(keras.Model):
    """Takes its input as target, with the compiled loss and metrics; never sees a label."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = keras.Sequential([keras.layers.Dense(2, "relu"), keras.layers.Dense(4)])

    def call(self, inputs: Any) -> Any:
        """Returns the reconstruction of the inputs."""
        return self.inner(inputs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True) -> Any:
        """Returns the loss of the reconstruction."""
        return super().compute_loss(x=x, y=x, y_pred=y_pred, sample_weight=sample_weight)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict:
        """Returns the metrics of the reconstruction."""
        return super().compute_metrics(x, x, y_pred, sample_weight)


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


def _unlabeled_autoencoder() -> keras.Model:
    model = UnlabeledAutoencoder()
    model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
    return model


def _colorizer() -> keras.Model:
    image = keras.Input((4, 4, 1), name="image", dtype="uint8")
    x = keras.layers.Conv2D(3, 3, padding="same")(keras.layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, keras.layers.Rescaling(255)(x))
    model.compile(keras.optimizers.SGD(1e-5), "mse", metrics=["mae"])
    return model


def _colorizer_row(random: np.random.Generator) -> Row:
    return {"image": _pixels(random), "colored": random.integers(0, 256, 48, np.uint8).tobytes()}


def _autoencoder() -> keras.Model:
    image = keras.Input((4,), name="x")
    x = keras.layers.Dense(2, "relu")(image)
    model = keras.Model(image, keras.layers.Dense(4)(x))
    model.compile(keras.optimizers.Adam(0.01), "mae")
    return model


def _denoiser() -> keras.Model:
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(1, 3, padding="same")]
    model = keras.Sequential([*layers, keras.layers.Rescaling(255)])
    model.compile(keras.optimizers.SGD(1e-5), "mse")
    return model


class Ranking(keras.Model):
    """Compares the scores of each pair of examples with different labels in its loss."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True) -> Any:
        """Returns the mean over the pairs, which are none if the batch holds equal labels."""
        scores = keras.ops.reshape(y_pred, (-1,))
        is_better = keras.ops.cast(y[:, None] > y[None], "float32")
        losses = is_better * keras.ops.softplus(scores[None] - scores[:, None])
        return keras.ops.sum(losses) / keras.ops.maximum(keras.ops.sum(is_better), 1.0)


def _segmentation() -> keras.Model:
    image = keras.Input((4, 4, 1), name="image", dtype="uint8")
    x = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid")(
        keras.layers.Rescaling(1 / 255)(image)
    )
    model = keras.Model(image, x)
    model.compile(keras.optimizers.SGD(0.5), keras.losses.Dice())
    return model


def _segmentation_row(random: np.random.Generator) -> Row:
    return {"image": _pixels(random), "label": random.integers(0, 2, 16).astype(float).tolist()}


class WithoutTraining(keras.Model):
    """Has a call without ``training``, so its layers run as in inference."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = keras.layers.Dense(4)
        self.norm = keras.layers.BatchNormalization()
        self.drop = keras.layers.Dropout(0.5, seed=14)
        self.out = keras.layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        """Returns one value ``[batch, 1]`` for each example."""
        return self.out(self.drop(self.norm(self.inner(inputs))))


def _without_training() -> keras.Model:
    model = WithoutTraining()
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"])
    return model


def _frozen() -> keras.Model:
    model = _regression(metrics=["mae"])
    model.trainable = False
    return model


UNLABELED = ({"x": _dense(4)}, FeedOptions(label_key=None, cache="none"))

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
    "structured data, preprocessing layers": Case(
        _structured,
        _structured_row,
        {
            "age": _dense(),
            "city": _dense(dtype=tf.string),
            "code": _dense(dtype=tf.int64),
            "label": _dense(dtype=tf.int64),
        },
    ),
    "images, augmentation, BatchNormalization": Case(
        _image,
        _image_row,
        {"image": _dense(dtype=tf.string), "label": _dense(dtype=tf.int64)},
        IMAGE_FEED,
        BY_PART,
    ),
    "autoencoder": Case(
        _autoencoder,
        lambda random: {"x": (x := random.normal(size=4).tolist()), "label": x},
        {"x": _dense(4), "label": _dense(4)},
    ),
    "autoencoder without labels": Case(
        _unlabeled_autoencoder, lambda random: {"x": random.normal(size=4).tolist()}, *UNLABELED
    ),
    "masked words without labels, own steps": Case(
        _masked_modeling,
        lambda random: {"words": random.integers(1, 7, 5).tolist()},
        {"words": _dense(5, tf.int64)},
        FeedOptions(label_key=None, cache="none"),
        WHOLE_BATCHES,
    ),
    "contrastive loss without labels": Case(
        _contrastive,
        lambda random: {"x": random.normal(size=4).tolist()},
        *UNLABELED,
        WHOLE_BATCHES,
    ),
    "image to image": Case(
        _colorizer,
        _colorizer_row,
        {"image": _dense(dtype=tf.string), "colored": _dense(dtype=tf.string)},
        FeedOptions(
            label_key="colored",
            images={"image": Image(4, 4, 1), "colored": Image(4, 4, 3)},
            cache="none",
        ),
    ),
    "image that is its own target": Case(
        _denoiser,
        lambda random: {"image": _pixels(random)},
        {"image": _dense(dtype=tf.string)},
        FeedOptions(label_key="image", images={"image": Image(4, 4, 1)}, cache="none"),
    ),
    "variational autoencoder, own steps": Case(
        _variational_autoencoder, _vector_row, VECTOR, cells=WHOLE_BATCHES
    ),
    "GAN, two optimizers": Case(_adversarial, _vector_row, VECTOR, cells=WHOLE_BATCHES),
    "distillation, inner models": Case(_distiller, _vector_row, VECTOR, cells=WHOLE_BATCHES),
    "contrastive loss": Case(_contrastive, _vector_row, VECTOR, cells=WHOLE_BATCHES),
    "loss of pairs of examples": Case(
        lambda: _regression(Ranking, loss=None),
        lambda random: {**_vector_row(random), "label": float(random.normal())},
        VECTOR,
        cells=WHOLE_BATCHES,
    ),
    "segmentation, Dice loss": Case(
        _segmentation,
        _segmentation_row,
        {
            "image": _dense(dtype=tf.string),
            "label": tf.io.FixedLenFeature([4, 4, 1], tf.float32),
        },
        IMAGE_FEED,
        WHOLE_BATCHES,
    ),
    "call without training": Case(_without_training, _vector_row, VECTOR),
    "no trainable weights": Case(_frozen, _vector_row, VECTOR),
    "several inputs and outputs": Case(
        _several_outputs,
        _several_outputs_row,
        {"x": _dense(4), "z": _dense(2), "price": _dense(), "kind": _dense(dtype=tf.int64)},
        FeedOptions(label_key={"price": "price", "kind": "kind"}, cache="none"),
        eval_batch_size=3,  # The parts of two replicas differ in size.
    ),
    "recommender, embeddings, sample weights": Case(
        _recommender,
        _rating,
        {
            "user": _dense(dtype=tf.int64),
            "item": _dense(dtype=tf.int64),
            "label": _dense(),
            "weight": _dense(),
        },
        FeedOptions(weight_key="weight", cache="none"),
    ),
    "sequences with masked targets": Case(
        _tagger,
        _tagger_row,
        {"words": _dense(5, tf.int64), "label": _dense(5, tf.int64)},
        cells={mode: cell for mode, cell in WHOLE_BATCHES.items() if mode != "micro-batches"},
    ),
    "activity regularizer": Case(
        _activity,
        _vector_row,
        VECTOR,
        # Keras 3.12 sums over the batch, Keras 3.15 divides by its size.
        cells=dict.fromkeys(WHOLE_BATCHES, ("refused", "equal")),
    ),
    "add_loss": Case(_added_loss, _vector_row, VECTOR),
    'reduction="sum"': Case(
        lambda: _regression(loss=keras.losses.MeanSquaredError(reduction="sum")),
        _vector_row,
        VECTOR,
        cells=WHOLE_BATCHES,
    ),
    "run_eagerly": Case(lambda: _regression(run_eagerly=True), _vector_row, VECTOR),
    "run_eagerly, steps in Python": Case(_eager, _vector_row, VECTOR, cells=WHOLE_BATCHES),
    "jit_compile": Case(lambda: _regression(jit_compile=True), _vector_row, VECTOR),
    "jit_compile, own steps": Case(
        lambda: _variational_autoencoder(jit_compile=True), _vector_row, VECTOR, cells=WHOLE_BATCHES
    ),
    "own compute_metrics": Case(
        lambda: _regression(OwnMetrics, metrics=["mae"]), _vector_row, VECTOR, cells=WHOLE_BATCHES
    ),
    "own compute_loss and loss metric": Case(
        lambda: _regression(OwnLossTracker, loss=None), _vector_row, VECTOR
    ),
    "metrics with several values": Case(
        _vector_metrics, _one_hot_row, {"x": _dense(4), "label": _dense(3)}
    ),
}
