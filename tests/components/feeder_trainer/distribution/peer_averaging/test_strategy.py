"""Peer averaging with workers as threads, each with its own model, and real servers."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask, free_addresses
from tfx_feeder.components.feeder_trainer.distribution.options import PeerAveraging
from tfx_feeder.components.feeder_trainer.distribution.peer_averaging.strategy import (
    GossipSteps,
    open_context,
    steps_per_exchange,
)
from tfx_feeder.components.feeder_trainer.training.train_step import CompiledSteps, StepOptions

SIZE = 12
X = np.random.default_rng(0).normal(size=(48, 5)).astype(np.float32)
Y = (X.sum(axis=1) > 0).astype(np.int64)


def make_model(seed: int, optimizer: Any = "adam", cls: type = keras.Sequential) -> keras.Model:
    """Returns a model with every kind of variable: weights, statistics, random state."""
    keras.utils.set_random_seed(seed)
    layers = [
        keras.Input((5,)),
        keras.layers.Dense(4, activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.1),
        keras.layers.Dense(2),
    ]
    model = cls(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # The counts of the second metric are integers.
    counts = keras.metrics.MeanIoU(2, sparse_y_pred=False, name="iou")
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy", counts])
    return model


def batches(shard: Any, sizes: Sequence[int]) -> Iterator[Any]:
    """Returns an iterator over the shards of consecutive global batches."""

    def parts() -> Iterator[Any]:
        first = 0
        for size in sizes:
            start, stop = shard.bounds(size)
            yield X[first + start : first + stop], Y[first + start : first + stop]
            first += size

    signature = (tf.TensorSpec([None, 5]), tf.TensorSpec([None], tf.int64))
    return iter(tf.data.Dataset.from_generator(parts, output_signature=signature))


@pytest.fixture
def open_workers() -> Iterator[Callable[..., list[Any]]]:
    with contextlib.ExitStack() as stack:

        def open_all(models: Sequence[keras.Model], exchange: str = "broadcast") -> list[Any]:
            where = free_addresses(len(models))
            strategy = PeerAveraging(f"local:{len(models)}", exchange=exchange)
            tasks = [
                ClusterTask({"worker": where}, "worker", index) for index in range(len(models))
            ]
            contexts = side_by_side(lambda task: open_context(strategy, task), tasks)
            stack.callback(side_by_side, lambda context: context.close(), contexts)
            workers = [
                context.steps(model, lambda x: x)
                for context, model in zip(contexts, models, strict=True)
            ]
            for worker in workers:
                worker.build((X, Y))
            return workers

        yield open_all


def side_by_side(run: Callable[..., Any], *arguments: Sequence[Any]) -> list[Any]:
    """Runs a function for each worker in a separate thread."""
    with ThreadPoolExecutor(len(arguments[0])) as pool:
        return list(pool.map(run, *arguments, timeout=60))


def train(worker: GossipSteps, sizes: Sequence[int] = (SIZE,) * 4) -> np.ndarray:
    return worker.train(batches(worker._shard, sizes), list(sizes))


def arrays(variables: Sequence[Any]) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(v) for v in variables]


def floats(model: keras.Model) -> list[np.ndarray]:
    return arrays(model.weights)


def test_a_single_worker_matches_single_device_training(open_workers: Any) -> None:
    (worker,) = open_workers([make_model(1)])
    sequential = CompiledSteps(make_model(1), lambda x: x)
    sequential.build((X, Y))

    rows = train(worker)
    worker.synchronize()
    expected = sequential.train(batches(worker._shard, [SIZE] * 4), [SIZE] * 4)

    np.testing.assert_allclose(rows[:, 2], expected[:, 2], rtol=1e-5)
    for mine, theirs in zip(floats(worker.model), floats(sequential.model), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    assert worker.metrics_result() == pytest.approx(sequential.metrics_result())


def test_all_workers_start_with_the_weights_of_the_chief(open_workers: Any) -> None:
    models = [make_model(seed, keras.optimizers.SGD(0.0)) for seed in (1, 2)]
    workers = open_workers(models)
    expected = floats(models[0])[0]

    side_by_side(train, workers)

    for model in models:
        np.testing.assert_allclose(floats(model)[0], expected, rtol=1e-6)


@pytest.mark.parametrize("exchange", ["broadcast", "ring"])
def test_synchronize_sets_all_models_to_their_average(open_workers: Any, exchange: str) -> None:
    models = [make_model(seed) for seed in range(3)]
    workers = open_workers(models, exchange)

    side_by_side(train, workers)
    before = [floats(model) for model in models]
    side_by_side(lambda worker: worker.synchronize(), workers)

    for model in models:
        for index, value in enumerate(floats(model)):
            mean = np.mean([each[index] for each in before], axis=0)
            np.testing.assert_allclose(value, mean, rtol=1e-5, atol=1e-6)
    figures = workers[0].staleness
    assert figures["failed"] == figures["failed_workers"] == 0


def test_a_diverged_worker_takes_over_the_average_of_the_others(open_workers: Any) -> None:
    models = [make_model(seed) for seed in range(3)]
    workers = open_workers(models)
    side_by_side(train, workers)
    models[1].layers[0].kernel.assign(np.full((5, 4), np.nan))
    before = [floats(model) for model in models]

    side_by_side(lambda worker: worker.synchronize(), workers)

    for model in models:
        for index, value in enumerate(floats(model)):
            mean = np.mean([before[0][index], before[2][index]], axis=0)
            np.testing.assert_allclose(value, mean, rtol=1e-5, atol=1e-6)


def test_snapshots_of_peers_are_averaged_in(open_workers: Any) -> None:
    models = [make_model(seed, keras.optimizers.SGD(0.0)) for seed in (1, 2)]
    chief, worker = open_workers(models)
    side_by_side(train, [chief, worker])
    size = chief._flat[1].read().size
    while chief._exchange.drain(0, size) or worker._exchange.drain(0, size):
        pass
    weights = [np.full_like(value, 3) for value in floats(models[0])]

    worker._exchange.publish(1, np.concatenate([value.ravel() for value in weights]))
    while not chief._exchange._inbox:
        pass
    expected = (floats(models[0])[0] + 3) / 2
    train(chief, [SIZE])

    np.testing.assert_allclose(floats(models[0])[0], expected, rtol=1e-6)
    assert chief.staleness["used"] > 0
    assert f"{chief.staleness['used']} used" in chief.history_note()


def test_slots_and_random_states_remain_local_to_a_worker(open_workers: Any) -> None:
    models = [make_model(seed) for seed in (1, 2)]
    workers = open_workers(models)

    side_by_side(train, workers)
    side_by_side(lambda worker: worker.synchronize(), workers)

    states = [arrays(model.optimizer.variables[2:]) for model in models]
    assert any(np.abs(a - b).max() > 0 for a, b in zip(*states, strict=True))
    seeds = [arrays(model.non_trainable_variables)[-1] for model in models]
    assert seeds[0].dtype.kind in "iu"
    assert not np.array_equal(*seeds)


def test_metrics_cover_the_examples_of_all_workers(open_workers: Any) -> None:
    workers = open_workers([make_model(1), make_model(1)])
    sequential = CompiledSteps(make_model(1), lambda x: x)
    sequential.build((X, Y))
    sizes = [20, 20, 8]
    whole = batches(open_workers([make_model(1)])[0]._shard, sizes)
    sequential.evaluate(whole, sizes)

    def evaluate(worker: GossipSteps) -> dict[str, float]:
        worker.evaluate(batches(worker._shard, sizes), sizes)
        worker.synchronize()
        worker.synchronize()  # As for a checkpoint: no example is counted twice.
        return worker.metrics_result()

    assert side_by_side(evaluate, workers)[0] == pytest.approx(
        sequential.metrics_result(), rel=1e-5
    )


def test_a_worker_with_an_empty_shard_skips_the_step(open_workers: Any) -> None:
    models = [make_model(seed) for seed in (1, 2)]
    workers = open_workers(models)

    rows = side_by_side(lambda worker: train(worker, [4, 1]), workers)

    assert [int(model.optimizer.iterations) for model in models] == [1, 2]
    assert [len(each) for each in rows] == [2, 2]
    assert np.isfinite(rows).all()
    assert rows[0][1, 2] == 0 < rows[1][1, 2]


def test_profiling_does_not_affect_peers(open_workers: Any) -> None:
    workers = open_workers([make_model(1), make_model(1)])

    workers[0].profile(batches(workers[0]._shard, [SIZE] * 2), [SIZE] * 2)

    assert workers[0]._step == 0
    assert not workers[1]._exchange._inbox


def test_a_custom_train_step_is_used(open_workers: Any) -> None:
    class CustomStep(keras.Sequential):
        def train_step(self, data: Any) -> Any:
            return super().train_step(data)

    models = [make_model(seed, cls=CustomStep) for seed in (1, 2)]
    workers = open_workers(models)

    side_by_side(train, workers)

    assert [int(model.optimizer.iterations) for model in models] == [4, 4]


def test_the_noise_scale_is_rejected(open_workers: Any) -> None:
    (worker,) = open_workers([make_model(1)])

    with pytest.raises(ConfigError, match="noise scale"):
        GossipSteps(
            worker._group,
            worker._exchange,
            worker._shard,
            worker.model,
            dict,
            StepOptions(noise_scale=True),
        )


def test_a_cluster_is_required() -> None:
    with pytest.raises(ConfigError, match="TF_CONFIG"):
        open_context(PeerAveraging("env"), None)


@pytest.mark.parametrize(("step_s", "expected"), [(1.0, 1), (0.04, 1), (0.01, 4), (0.001, 40)])
def test_an_exchange_takes_a_fifth_of_the_time_at_most(step_s: float, expected: int) -> None:
    assert steps_per_exchange(step_s, exchange_s=0.01) == expected
