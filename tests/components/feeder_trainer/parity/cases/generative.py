"""Autoencoders and adversarial models."""

from typing import Any

import keras
import tensorflow as tf

from tests.components.feeder_trainer.parity.cases.case import (
    UNLABELED,
    VECTOR,
    WHOLE_BATCHES,
    Case,
    dense,
    vector_row,
)


def _autoencoder() -> keras.Model:
    image = keras.Input((4,), name="x")
    x = keras.layers.Dense(2, "relu")(image)
    model = keras.Model(image, keras.layers.Dense(4)(x))
    model.compile(keras.optimizers.Adam(0.01), "mae")
    return model


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


def _unlabeled_autoencoder() -> keras.Model:
    model = UnlabeledAutoencoder()
    model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
    return model


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


CASES: dict[str, Case] = {
    "autoencoder": Case(
        _autoencoder,
        lambda random: {"x": (x := random.normal(size=4).tolist()), "label": x},
        {"x": dense(4), "label": dense(4)},
    ),
    "autoencoder without labels": Case(
        _unlabeled_autoencoder, lambda random: {"x": random.normal(size=4).tolist()}, *UNLABELED
    ),
    "variational autoencoder, own steps": Case(
        _variational_autoencoder, vector_row, VECTOR, cells=WHOLE_BATCHES
    ),
    "jit_compile, own steps": Case(
        lambda: _variational_autoencoder(jit_compile=True), vector_row, VECTOR, cells=WHOLE_BATCHES
    ),
    "GAN, two optimizers": Case(_adversarial, vector_row, VECTOR, cells=WHOLE_BATCHES),
}
