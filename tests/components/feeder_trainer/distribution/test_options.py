"""Strategies as values: registry, JSON form, and validation."""

import dataclasses
import importlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.options import (
    TPU,
    Auto,
    CentralStorage,
    ClusterStrategy,
    DeviceStrategy,
    DistributedStrategy,
    Mirrored,
    MultiWorker,
    ParameterServer,
    PeerAveraging,
    SingleDevice,
    Strategy,
    SynchronousParameterServer,
    corrected_momentum,
    lr_scale_factor,
)
from tfx_feeder.components.feeder_trainer.distribution.strategy_info import STRATEGIES

GUIDE = Path(__file__).parents[4] / "docs" / "strategies.md"
MADE = [
    SingleDevice(),
    Mirrored(("GPU:0", "GPU:1"), lr_scaling="sqrt"),
    CentralStorage(),
    MultiWorker("local:2"),
    ParameterServer("local:3", lr_scaling="staleness", momentum="corrected"),
    SynchronousParameterServer("env"),
    PeerAveraging("local:2", exchange="ring"),
    TPU("grpc://10.0.0.2:8470"),
]
AUTO = Auto(
    "45m",
    max_cost=3,
    device_cost_per_hour={"GPU": 2.5},
    candidates=("sequential", "mirrored"),
    cluster="local:2",
)
OLD_FORM = """{
    "address": "", "candidates": [], "cluster": null, "device_cost_per_hour": {}, "devices": [],
    "exchange": "broadcast", "learning_rate_rule": "none", "max_cost": null, "name": "sequential",
    "restarts": 3, "time_to_train": null
}"""
"""Strategy in an execution property of a pipeline compiled by an earlier version."""


def test_each_strategy_has_a_separate_class() -> None:
    assert [strategy.name for strategy in MADE] == list(STRATEGIES)
    assert len({type(strategy) for strategy in MADE}) == len(STRATEGIES)


@pytest.mark.parametrize("base", [Strategy, DistributedStrategy, DeviceStrategy, ClusterStrategy])
def test_bases_are_abstract(base: type) -> None:
    with pytest.raises(TypeError, match="abstract"):
        base()


@pytest.mark.parametrize("strategy", [*MADE, AUTO], ids=lambda strategy: strategy.name)
def test_json_round_trip_is_exact(strategy: Strategy) -> None:
    assert Strategy.from_json(strategy.to_json()) == strategy
    assert pickle.loads(pickle.dumps(strategy)) == strategy
    options = {field.name for field in dataclasses.fields(strategy)}
    assert json.loads(strategy.to_json()).keys() == {"name", *options}


@pytest.mark.parametrize(
    ("changes", "strategy"),
    [
        ({}, SingleDevice()),
        (
            {"name": "mirrored", "devices": ["GPU:0", "GPU:1"], "learning_rate_rule": "sqrt"},
            Mirrored(("GPU:0", "GPU:1"), lr_scaling="sqrt"),
        ),
        (
            {"name": "multi_worker", "cluster": "env", "restarts": 1},
            MultiWorker("env", restarts=1),
        ),
        (
            {"name": "peer_averaging", "cluster": "local:2", "exchange": "ring"},
            PeerAveraging("local:2", exchange="ring"),
        ),
        (
            {"name": "parameter_server", "cluster": "local:2", "learning_rate_rule": "linear"},
            ParameterServer("local:2"),
        ),
        ({"name": "tpu", "address": "grpc://10.0.0.2:8470"}, TPU("grpc://10.0.0.2:8470")),
        (
            {
                "name": "auto",
                "time_to_train": "45m",
                "max_cost": 3,
                "device_cost_per_hour": {"GPU": 2.5},
                "candidates": ["sequential", "mirrored"],
                "cluster": "local:2",
            },
            AUTO,
        ),
    ],
)
def test_the_json_form_of_earlier_versions_is_read(
    changes: dict[str, Any], strategy: Strategy
) -> None:
    assert Strategy.from_json(json.dumps(json.loads(OLD_FORM) | changes)) == strategy


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"name": "mirrored", "restarts": 0}, "restarts"),
        ({"name": "mirrored", "cluster": "local:2"}, "cluster"),
        ({"name": "auto", "exchange": "ring"}, "exchange"),
        ({"name": "auto", "devices": ["CPU:0"]}, "devices"),
    ],
)
def test_options_that_a_strategy_no_longer_has_are_refused(
    changes: dict[str, Any], option: str
) -> None:
    with pytest.raises(ConfigError, match=f"strategy {option}"):
        Strategy.from_dict(json.loads(OLD_FORM) | changes)


@pytest.mark.parametrize("info", STRATEGIES.values(), ids=lambda info: info.name)
def test_every_strategy_has_a_context(info) -> None:
    assert callable(importlib.import_module(info.module).open_context)


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_guide_describes_every_strategy(name: str) -> None:
    assert f"`{name}`" in GUIDE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"name": "warp"}, r"strategy: expected one of .*Received: 'warp'"),
        ({"name": "multi_worker"}, "cluster"),
        ({"name": "mirrored", "cluster": "local:2"}, "cluster"),
        ({"name": "multi_worker", "cluster": "local:0"}, "cluster"),
        ({"name": "sequential", "time_to_train": "45m"}, "time_to_train"),
        ({"name": "auto", "time_to_train": "soon"}, "time_to_train"),
        ({"name": "auto", "max_cost": 0}, "max_cost"),
        ({"name": "auto", "device_cost_per_hour": {"GPU": -1}}, "device_cost_per_hour"),
        ({"name": "auto", "candidates": ("warp",)}, "candidates"),
        ({"name": "mirrored", "lr_scaling": "cubic"}, "lr_scaling"),
        ({"name": "mirrored", "lr_scaling": "staleness"}, "lr_scaling"),
        ({"name": "parameter_server", "cluster": "env", "momentum": "less"}, "momentum"),
        ({"name": "parameter_server", "cluster": "env", "lr_scaling": "linear"}, "lr_scaling"),
        ({"name": "peer_averaging", "cluster": "env", "exchange": "post"}, "exchange"),
        ({"name": "multi_worker", "cluster": "env", "restarts": -1}, "restarts"),
    ],
)
def test_errors_name_the_argument(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Strategy.from_dict(wrong)


def test_options_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(Mirrored(), "devices", ("GPU:0",))  # noqa: B010


def test_learning_rate_scale_factors() -> None:
    assert [lr_scale_factor(rule, 4) for rule in ("none", "linear", "sqrt")] == [1, 4, 2]
    assert lr_scale_factor("staleness", 1, staleness=3) == 0.25


def test_staleness_lowers_momentum_to_zero_at_most() -> None:
    momenta = [corrected_momentum(0.9, staleness) for staleness in (0, 1, 4, 20)]
    assert momenta == pytest.approx([0.9, 0.8, 0.5, 0.0])


def _largest_stable_rate(momentum: float, staleness: int) -> float:
    """Returns the learning rate above which training on a parabola of curvature 1 diverges.

    The gradient is that of the weight ``staleness`` updates ago.
    """
    size = staleness + 2
    low, high = 0.0, 4.0
    while high - low > 1e-6:
        rate = (low + high) / 2
        update = np.eye(size, k=-1)
        update[0, :2] = 1 + momentum, -momentum
        update[0, staleness] -= rate
        is_stable = np.abs(np.linalg.eigvals(update)).max() < 1
        low, high = (rate, high) if is_stable else (low, rate)
    return low


@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_staleness_lowers_the_rate_that_is_stable_as_documented(momentum: float) -> None:
    fresh, stale = (_largest_stable_rate(momentum, staleness) for staleness in (0, 1))

    assert fresh / (1 + momentum) == pytest.approx(2, rel=1e-3)
    assert stale / (1 - momentum) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_add_the_momentum_that_is_corrected(workers: int) -> None:
    random, rate, runs = np.random.default_rng(0), 0.05, 20_000
    weight, held = np.ones(runs), np.ones((runs, workers))
    path = [1.0]
    for _ in range(40):  # A worker at random updates, and takes the new weight of the parabola.
        worker = np.arange(runs), random.integers(workers, size=runs)
        weight = weight - rate * held[worker]
        held[worker] = weight
        path.append(weight.mean())

    steps = np.diff(path)
    terms = np.stack([steps[:-1], -np.array(path[1:-1])], axis=1)
    (momentum, effective_rate), *_ = np.linalg.lstsq(terms, steps[1:], rcond=None)

    # As Mitliagkas et al. 2016 prove for workers with exponentially distributed times.
    assert momentum == pytest.approx(1 - 1 / workers, abs=0.01)
    assert effective_rate == pytest.approx(rate / workers, rel=0.05)
    # An update with the corrected momentum acts, over all workers, as often as the user's.
    corrected = corrected_momentum(0.9, workers - 1)
    assert (1 - corrected) * (1 - momentum) == pytest.approx(1 - 0.9, abs=0.005)
