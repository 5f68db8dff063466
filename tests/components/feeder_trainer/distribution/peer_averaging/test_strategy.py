"""Peer averaging: members as threads, each with a model of its own; real servers between them."""

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
    """A model with every kind of variable: weights, statistics, a random state."""
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
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
    return model


def batches(share: Any, sizes: Sequence[int]) -> Iterator[Any]:
    """The share of each of the global batches that are cut from the data one after another."""

    def parts() -> Iterator[Any]:
        first = 0
        for size in sizes:
            start, stop = share.bounds(size)
            yield X[first + start : first + stop], Y[first + start : first + stop]
            first += size

    signature = (tf.TensorSpec([None, 5]), tf.TensorSpec([None], tf.int64))
    return iter(tf.data.Dataset.from_generator(parts, output_signature=signature))


@pytest.fixture
def open_members() -> Iterator[Callable[..., list[Any]]]:
    with contextlib.ExitStack() as stack:

        def open_all(models: Sequence[keras.Model], exchange: str = "broadcast") -> list[Any]:
            where = free_addresses(len(models))
            strategy = PeerAveraging(f"local:{len(models)}", exchange=exchange)
            tasks = [
                ClusterTask({"worker": where}, "worker", index) for index in range(len(models))
            ]
            placements = side_by_side(lambda task: open_context(strategy, task), tasks)
            stack.callback(side_by_side, lambda placement: placement.close(), placements)
            members = [
                placement.steps(model, lambda x: x)
                for placement, model in zip(placements, models, strict=True)
            ]
            for member in members:
                member.build((X, Y))
            return members

        yield open_all


def side_by_side(run: Callable[..., Any], *arguments: Sequence[Any]) -> list[Any]:
    """Runs a function for each member in a thread of its own."""
    with ThreadPoolExecutor(len(arguments[0])) as pool:
        return list(pool.map(run, *arguments, timeout=60))


def train(member: GossipSteps, sizes: Sequence[int] = (SIZE,) * 4) -> np.ndarray:
    return member.train(batches(member._shard, sizes), list(sizes))


def arrays(variables: Sequence[Any]) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(v) for v in variables]


def floats(model: keras.Model) -> list[np.ndarray]:
    return arrays(model.weights)


def test_a_team_of_one_trains_as_sequential(open_members: Any) -> None:
    (member,) = open_members([make_model(1)])
    sequential = CompiledSteps(make_model(1), lambda x: x)
    sequential.build((X, Y))

    rows = train(member)
    member.synchronize()
    expected = sequential.train(batches(member._shard, [SIZE] * 4), [SIZE] * 4)

    np.testing.assert_allclose(rows[:, 2], expected[:, 2], rtol=1e-5)
    for mine, theirs in zip(floats(member.model), floats(sequential.model), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    assert member.metrics_result() == pytest.approx(sequential.metrics_result())


def test_all_begin_with_the_weights_of_the_chief(open_members: Any) -> None:
    models = [make_model(seed, keras.optimizers.SGD(0.0)) for seed in (1, 2)]
    members = open_members(models)
    expected = floats(models[0])[0]

    side_by_side(train, members)

    for model in models:
        np.testing.assert_allclose(floats(model)[0], expected, rtol=1e-6)


@pytest.mark.parametrize("exchange", ["broadcast", "ring"])
def test_synchronize_gives_all_the_same_model(open_members: Any, exchange: str) -> None:
    models = [make_model(seed) for seed in range(3)]
    members = open_members(models, exchange)

    side_by_side(train, members)
    before = [floats(model) for model in models]
    side_by_side(lambda member: member.synchronize(), members)

    for model in models:
        for index, value in enumerate(floats(model)):
            mean = np.mean([each[index] for each in before], axis=0)
            np.testing.assert_allclose(value, mean, rtol=1e-5, atol=1e-6)
    figures = members[0].staleness
    assert figures["failed"] == figures["failed_workers"] == 0


def test_snapshots_of_peers_are_averaged_in(open_members: Any) -> None:
    models = [make_model(seed, keras.optimizers.SGD(0.0)) for seed in (1, 2)]
    chief, member = open_members(models)
    side_by_side(train, [chief, member])
    while chief._exchange.drain(0) or member._exchange.drain(0):
        pass
    weights = [np.full_like(value, 3) for value in floats(models[0])]

    member._exchange.publish(1, np.concatenate([value.ravel() for value in weights]))
    while not chief._exchange._inbox:
        pass
    expected = (floats(models[0])[0] + 3) / 2
    train(chief, [SIZE])

    np.testing.assert_allclose(floats(models[0])[0], expected, rtol=1e-6)
    assert chief.staleness["used"] > 0
    assert f"{chief.staleness['used']} used" in chief.history_note()


def test_slots_and_random_states_stay_with_their_member(open_members: Any) -> None:
    models = [make_model(seed) for seed in (1, 2)]
    members = open_members(models)

    side_by_side(train, members)
    side_by_side(lambda member: member.synchronize(), members)

    states = [arrays(model.optimizer.variables[2:]) for model in models]
    assert any(np.abs(a - b).max() > 0 for a, b in zip(*states, strict=True))
    seeds = [arrays(model.non_trainable_variables)[-1] for model in models]
    assert seeds[0].dtype.kind in "iu"
    assert not np.array_equal(*seeds)


def test_metrics_are_those_of_all_examples(open_members: Any) -> None:
    members = open_members([make_model(1), make_model(1)])
    sequential = CompiledSteps(make_model(1), lambda x: x)
    sequential.build((X, Y))
    sizes = [20, 20, 8]
    whole = batches(open_members([make_model(1)])[0]._shard, sizes)
    sequential.evaluate(whole, sizes)

    def evaluate(member: GossipSteps) -> dict[str, float]:
        member.evaluate(batches(member._shard, sizes), sizes)
        member.synchronize()
        member.synchronize()  # As for a checkpoint: nothing counts twice.
        return member.metrics_result()

    assert side_by_side(evaluate, members)[0] == pytest.approx(
        sequential.metrics_result(), rel=1e-5
    )


def test_a_member_without_a_share_skips_the_step(open_members: Any) -> None:
    models = [make_model(seed) for seed in (1, 2)]
    members = open_members(models)

    rows = side_by_side(lambda member: train(member, [4, 1]), members)

    assert [int(model.optimizer.iterations) for model in models] == [1, 2]
    assert [len(each) for each in rows] == [2, 2]
    assert np.isfinite(rows).all()
    assert rows[0][1, 2] == 0 < rows[1][1, 2]


def test_measuring_is_nothing_to_the_peers(open_members: Any) -> None:
    members = open_members([make_model(1), make_model(1)])

    members[0].profile(batches(members[0]._shard, [SIZE] * 2), [SIZE] * 2)

    assert members[0]._step == 0
    assert not members[1]._exchange._inbox


def test_a_train_step_of_the_users_own(open_members: Any) -> None:
    class Own(keras.Sequential):
        def train_step(self, data: Any) -> Any:
            return super().train_step(data)

    models = [make_model(seed, cls=Own) for seed in (1, 2)]
    members = open_members(models)

    side_by_side(train, members)

    assert [int(model.optimizer.iterations) for model in models] == [4, 4]


def test_the_noise_scale_is_refused(open_members: Any) -> None:
    (member,) = open_members([make_model(1)])

    with pytest.raises(ConfigError, match="noise scale"):
        GossipSteps(
            member._group,
            member._exchange,
            member._shard,
            member.model,
            dict,
            StepOptions(noise_scale=True),
        )


def test_a_cluster_is_needed() -> None:
    with pytest.raises(ConfigError, match="TF_CONFIG"):
        open_context(PeerAveraging("env"), None)


@pytest.mark.parametrize(("step_s", "expected"), [(1.0, 1), (0.04, 1), (0.01, 4), (0.001, 40)])
def test_an_exchange_takes_a_fifth_of_the_time_at_most(step_s: float, expected: int) -> None:
    assert steps_per_exchange(step_s, exchange_s=0.01) == expected
