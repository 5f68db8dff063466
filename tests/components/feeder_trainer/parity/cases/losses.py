"""Losses other than a mean over the examples, losses that layers and models add."""

from typing import Any

import keras

from tests.components.feeder_trainer.parity.cases.case import (
    UNLABELED,
    VECTOR,
    WHOLE_BATCHES,
    Case,
    inputs_and_features,
    regression,
    vector_row,
)


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
    inputs, x = inputs_and_features()
    model = Contrastive(inputs, keras.layers.Dense(3)(x))
    model.compile(keras.optimizers.SGD(0.1))
    return model


class Ranking(keras.Model):
    """Compares the scores of each pair of examples with different labels in its loss."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True) -> Any:
        """Returns the mean over the pairs, which are none if the batch holds equal labels."""
        scores = keras.ops.reshape(y_pred, (-1,))
        is_better = keras.ops.cast(y[:, None] > y[None], "float32")
        losses = is_better * keras.ops.softplus(scores[None] - scores[:, None])
        return keras.ops.sum(losses) / keras.ops.maximum(keras.ops.sum(is_better), 1.0)


def _activity() -> keras.Model:
    inputs, x = inputs_and_features()
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
    inputs, x = inputs_and_features()
    model = keras.Model(inputs, keras.layers.Dense(1)(MeanPenalty()(x)))
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"])
    return model


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


CASES: dict[str, Case] = {
    "contrastive loss": Case(_contrastive, vector_row, VECTOR, cells=WHOLE_BATCHES),
    "contrastive loss without labels": Case(
        _contrastive,
        lambda random: {"x": random.normal(size=4).tolist()},
        *UNLABELED,
        WHOLE_BATCHES,
    ),
    "loss of pairs of examples": Case(
        lambda: regression(Ranking, loss=None),
        lambda random: {**vector_row(random), "label": float(random.normal())},
        VECTOR,
        cells=WHOLE_BATCHES,
    ),
    "activity regularizer": Case(
        _activity,
        vector_row,
        VECTOR,
        # Keras 3.12 sums over the batch, Keras 3.15 divides by its size.
        cells=dict.fromkeys(WHOLE_BATCHES, ("refused", "equal")),
    ),
    "add_loss": Case(_added_loss, vector_row, VECTOR),
    'reduction="sum"': Case(
        lambda: regression(loss=keras.losses.MeanSquaredError(reduction="sum")),
        vector_row,
        VECTOR,
        cells=WHOLE_BATCHES,
    ),
    "own compute_loss and loss metric": Case(
        lambda: regression(OwnLossTracker, loss=None), vector_row, VECTOR
    ),
}
