"""Trains models that are hard to replicate, and collects errors, in a separate process."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.central_storage import CentralStorageSteps
from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.context import (
    DistributionContext,
    open_context,
)
from tfx_feeder.components.feeder_trainer.distribution.options import Mirrored
from tfx_feeder.components.feeder_trainer.model.state import capture, restore
from tfx_feeder.components.feeder_trainer.training.train_step import CompiledSteps

DEVICES = ("CPU:0", "CPU:1", "CPU:2")
SIZES = (7, 7, 5, 3, 1)
"""Most do not split evenly; the last leaves two of three replicas without an example."""


class OwnLoss(keras.Model):
    """Model with a custom loss."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Returns the mean squared error."""
        return tf.reduce_mean(tf.square(y_pred - y))


class LossWithMore(keras.Model):
    """Model that adds a custom term to the compiled loss."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Returns the compiled loss plus a penalty on the outputs."""
        return super().compute_loss(x, y, y_pred, sample_weight) + tf.reduce_mean(0.1 * y_pred**2)


class OwnStep(keras.Model):
    """Model with a custom training step."""

    def train_step(self, data: Any) -> Any:
        """Calls the step of Keras."""
        return super().train_step(data)


class Seen(keras.metrics.Metric):
    """Metric that counts examples in an integer."""

    def __init__(self) -> None:
        super().__init__(name="seen")
        self.count = self.add_weight(shape=(), initializer="zeros", dtype="int32", name="count")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Counts a batch."""
        self.count.assign_add(tf.shape(y_true)[0])

    def result(self) -> Any:
        """Returns the number of examples."""
        return self.count.value


def scalar_loss(y_true: Any, y_pred: Any) -> Any:
    """Returns the mean over the batch, as many custom losses do, not one value per example."""
    return tf.reduce_mean(tf.abs(y_true - y_pred))


def _model(of: type[keras.Model] = keras.Model, *, optimizer: Any = None, loss: Any = "mse") -> Any:
    inputs = keras.Input((4,))
    x = keras.layers.Dense(6, "tanh", kernel_regularizer=keras.regularizers.L2(0.01))(inputs)
    model = of(inputs, keras.layers.Dense(1)(x))
    optimizer = optimizer or keras.optimizers.SGD(0.1)
    counting = [Seen(), keras.metrics.BinaryIoU(name="iou")]  # In integers.
    model.compile(optimizer, loss, metrics=["mae", *counting, keras.metrics.AUC(name="auc")])
    return model


def _sgd(**options: Any) -> keras.Optimizer:
    return keras.optimizers.SGD(0.1, **options)


TRAINED: dict[str, Callable[[], keras.Model]] = {
    "own loss": lambda: _model(OwnLoss),
    "loss with more": lambda: _model(LossWithMore),
    "scalar loss": lambda: _model(loss=scalar_loss),
    "scaled loss, clipped": lambda: _model(
        optimizer=keras.optimizers.LossScaleOptimizer(_sgd(global_clipnorm=0.05))
    ),
    "average of weights": lambda: _model(optimizer=_sgd(use_ema=True)),
    "decay of weights": lambda: _model(optimizer=keras.optimizers.AdamW(0.1, weight_decay=0.1)),
}

REFUSED: dict[str, tuple[Callable[[], keras.Model], str]] = {
    "own step": (lambda: _model(OwnStep), "custom train_step"),
    "sum": (lambda: _model(loss=keras.losses.MeanSquaredError(reduction="sum")), "reduction sum"),
    "accumulation": (
        lambda: _model(optimizer=_sgd(gradient_accumulation_steps=2)),
        "gradient_accumulation_steps=2",
    ),
    "overwriting": (
        lambda: _model(optimizer=_sgd(use_ema=True, ema_overwrite_frequency=3)),
        "ema_overwrite_frequency=3",
    ),
}
"""Unsupported models, and the phrase of the error that names the cause."""

Figures = dict[str, Any]


def run(argument: None, task: ClusterTask | None) -> dict[str, dict[str, Any]]:
    """Returns the results by strategy and model, and the errors of the unsupported models."""
    mirrored = open_context(Mirrored(DEVICES), task)
    placements = {
        # First, because mirrored steps must not influence the reference.
        "sequential": DistributionContext(CompiledSteps),
        "central_storage": DistributionContext(
            functools.partial(CentralStorageSteps, DEVICES),
            scope=lambda: tf.device("CPU:0"),
        ),
        "mirrored": mirrored,
    }
    trained = {
        name: {kind: _train(placement, make) for kind, make in TRAINED.items()}
        for name, placement in placements.items()
    }
    refused = {kind: _refusal(mirrored, make) for kind, (make, _) in REFUSED.items()}
    more = {"statistics": _statistics(mirrored), "overflow": _overflow(mirrored)}
    return trained | {"refused": refused} | more


def _train(placement: DistributionContext, make: Callable[[], keras.Model]) -> Figures:
    random = np.random.default_rng(1)
    batches = [
        ({"x": random.normal(size=(n, 4)).astype("f")}, random.integers(0, 2, (n, 1)).astype("f"))
        for n in SIZES
    ]
    with placement.scope():
        keras.utils.set_random_seed(3)
        model = make()
        steps = placement.steps(model, lambda features: features["x"])
        steps.build(batches[0])
        spec = tf.nest.map_structure(lambda t: tf.TensorSpec([None, *t.shape[1:]]), batches[0])
        dataset = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=spec)
        iterator = iter(dataset)
        losses = [steps.train(iterator, [size])[0, 2] for size in SIZES]
        model.optimizer.finalize_variable_values(model.trainable_weights)
        before, results = capture(model), steps.metrics_result()
        for _ in range(3):
            restore(model, capture(model))
        after = capture(model)
        return {
            "losses": losses,
            "results": results,
            "weights": [keras.ops.convert_to_numpy(v) for v in model.trainable_variables],
            "changed": [name for name in before if not np.array_equal(before[name], after[name])],
        }


def _statistics(placement: DistributionContext) -> dict[str, Any]:
    """Returns each replica's values of the weights that no gradient reaches, by their names.

    ``before`` are those after a step, ``after`` those after ``synchronize``.
    """
    random = np.random.default_rng(1)
    with placement.scope():
        keras.utils.set_random_seed(3)
        frozen = keras.layers.Dense(50, trainable=False, name="frozen")
        adapted = keras.layers.Dense(50, name="adapted")
        layers = [frozen, adapted, keras.layers.BatchNormalization(name="norm")]
        model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(1)], name="model")
        adapted.kernel.trainable = False  # As low-rank adapters do.
        model.compile("sgd", "mse")
        steps = placement.steps(model, lambda features: features["x"])
        x = random.normal(size=(7, 4)).astype("f")
        batch = ({"x": x}, x[:, :1])
        steps.build(batch)
        steps.train(iter(tf.data.Dataset.from_tensors(batch)), [7])

        def values() -> dict[str, np.ndarray]:
            return {
                weight.path: np.stack([replica.numpy() for replica in weight.value.values])
                for weight in model.non_trainable_weights
            }

        before = values()
        steps.synchronize()
        return {"before": before, "after": values()}


def _overflow(placement: DistributionContext) -> dict[str, Any]:
    """Returns the weight and the loss scale after a step that overflows on the last replica."""
    with placement.scope():
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
        optimizer = keras.optimizers.LossScaleOptimizer(_sgd(), initial_scale=2.0**110)
        model.compile(optimizer, "mse")
        steps = placement.steps(model, lambda features: features["x"])
        x = np.array([[1], [1], [1e6]], "f")
        batch = ({"x": x}, np.full((3, 1), 1e3, "f"))
        steps.build(batch)
        before = model.get_weights()
        steps.train(iter(tf.data.Dataset.from_tensors(batch)), [3])
        return {
            "before": before,
            "after": model.get_weights(),
            "scale": float(optimizer.dynamic_scale.numpy()),
        }


def _refusal(placement: DistributionContext, make: Callable[[], keras.Model]) -> str:
    with placement.scope():
        try:
            placement.steps(make(), dict)
        except ConfigError as error:
            return str(error)
    return ""
