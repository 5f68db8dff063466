"""Strategies as values: registry, JSON form, and validation."""

import dataclasses
import importlib
import json
import pickle
from pathlib import Path
from typing import Any

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
