"""Trains small models under a strategy in a separate process."""

import itertools
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.context import (
    DistributionContext,
    open_context,
)
from tfx_feeder.components.feeder_trainer.distribution.options import Strategy
from tfx_feeder.components.feeder_trainer.model.state import capture, restore
from tfx_feeder.components.feeder_trainer.training.train_step import StepOptions

SIZES = ([8] * 3, [5], [6] * 2, [1])
"""Global batch sizes of each call; some do not split evenly, one leaves a replica empty."""


class Logarithm(keras.layers.Layer):
    """Layer whose output and gradient are undefined at zero."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the input with the logarithm of its norm appended."""
        length = keras.ops.norm(x, axis=-1, keepdims=True)
        return keras.ops.concatenate([x, keras.ops.log(length)], axis=-1)


def make_model(kind: str) -> keras.Model:
    """Returns a model without random operations."""
    inputs = keras.Input((4,))
    x = inputs
    if kind == "undefined_at_zero":
        x = Logarithm()(keras.layers.Dense(4, use_bias=False)(x))
    x = keras.layers.Dense(6, "tanh", kernel_regularizer=keras.regularizers.L2(0.01))(x)
    if kind == "batch_norm":
        x = keras.layers.BatchNormalization()(x)
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))
    optimizer = keras.optimizers.Adam(0.01, clipnorm=0.05 if kind == "clipping" else None)
    model.compile(
        optimizer,
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        weighted_metrics=["accuracy"],
    )
    return model


def data(weighted: bool) -> list[tuple]:
    """Returns one global batch per size."""
    random = np.random.default_rng(1)
    batches = []
    for size in itertools.chain(*SIZES):
        x = {"x": random.normal(size=(size, 4)).astype(np.float32)}
        weight = (random.random(size).astype(np.float32),) * weighted
        batches.append((x, random.integers(0, 3, size), *weight))
    return batches


KINDS = ("plain", "weighted", "clipping", "micro", "noise", "undefined_at_zero", "batch_norm")


def run(strategy: Strategy, task: ClusterTask | None) -> dict[str, dict[str, Any]]:
    """Trains a model of each kind; a single process saves startup time."""
    placement = open_context(strategy, task)
    return {kind: run_kind(placement, kind) for kind in KINDS}


def run_kind(placement: DistributionContext, kind: str) -> dict[str, Any]:
    """Trains and evaluates a model, with a restore in between; returns the results."""
    with placement.scope():
        keras.utils.set_random_seed(3)
        model = make_model(kind)
        options = StepOptions(
            noise_scale=kind == "noise", max_micro_batch_size=2 if kind == "micro" else None
        )
        steps = placement.steps(model, lambda features: features["x"], options)
        batches = data(weighted=kind == "weighted")
        mine = [
            tf.nest.map_structure(lambda t: t[slice(*placement.shard.bounds(len(t)))], batch)
            for batch in batches
        ]
        steps.build(batches[0])
        spec = tf.nest.map_structure(
            lambda t: tf.TensorSpec([None, *t.shape[1:]], t.dtype), batches[0]
        )
        dataset = tf.data.Dataset.from_generator(lambda: iter(mine), output_signature=spec)
        iterator, rows = iter(dataset), []
        for sizes in SIZES:
            rows.append(steps.train(iterator, sizes))
        steps.synchronize()
        trained = steps.metrics_result()
        before = capture(model)
        restore(model, before)
        again = capture(model)
        compute_only_step_s = steps.compute_only_step_s(iter(dataset), SIZES[0])
        restore(model, before)
        model.reset_metrics()
        iterator = iter(dataset)
        for sizes in SIZES:
            steps.evaluate(iterator, sizes)
        return {
            "weights": [keras.ops.convert_to_numpy(v) for v in model.trainable_variables],
            "statistics": [keras.ops.convert_to_numpy(v) for v in model.non_trainable_variables],
            "statistics_agree": _agree(model, placement),
            "rows": np.concatenate(rows),
            "trained": trained,
            "evaluated": steps.metrics_result(),
            "exact": all(np.array_equal(before[name], again[name]) for name in before),
            "agreed": placement.process_group.broadcast([1.5, float(placement.shard.index)]),
            "traces": steps.traces,
            "compute_only_step_s": compute_only_step_s,
            "replicas": placement.replicas,
        }


def _agree(model: keras.Model, placement: DistributionContext) -> bool:
    """Returns True if all replicas have the same values of the weights that layers update."""
    group: Any = placement.process_group  # Those of several processes add up arrays.
    agree = True
    for weight in model.non_trainable_weights:
        replicas = getattr(weight.value, "values", [weight.value])
        own = np.stack([replica.numpy() for replica in replicas])
        mean = group.all_reduce_sum(own) / group.size if group.size > 1 else own[:1]
        agree &= np.allclose(own, mean, rtol=1e-5, atol=1e-7)
    return agree
