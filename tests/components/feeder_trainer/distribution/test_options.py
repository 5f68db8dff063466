"""The table of strategies, and what a pipeline may say of one."""

import importlib
from pathlib import Path

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.options import (
    STRATEGIES,
    Strategy,
    lr_scale_factor,
)
from tfx_feeder.components.feeder_trainer.feed.options import from_json, to_json

GUIDE = Path(__file__).parents[4] / "docs" / "strategies.md"
MADE = [
    Strategy.sequential(),
    Strategy.mirrored(("GPU:0", "GPU:1"), learning_rate_rule="sqrt"),
    Strategy.central_storage(),
    Strategy.multi_worker("local:2"),
    Strategy.parameter_server("local:3"),
    Strategy.parameter_server_sync("env"),
    Strategy.peer_averaging("local:2", exchange="ring"),
    Strategy.tpu("grpc://10.0.0.2:8470"),
]


def test_every_strategy_has_a_constructor_of_its_name() -> None:
    assert [strategy.name for strategy in MADE] == list(STRATEGIES)


@pytest.mark.parametrize(
    "strategy",
    [
        *MADE,
        Strategy.auto(
            "45m",
            max_cost=3,
            device_cost_per_hour={"GPU": 2.5},
            candidates=("sequential", "mirrored"),
            cluster="local:2",
        ),
    ],
    ids=lambda strategy: strategy.name,
)
def test_json_round_trip_is_exact(strategy: Strategy) -> None:
    assert from_json(Strategy, to_json(strategy)) == strategy


@pytest.mark.parametrize("kind", STRATEGIES.values(), ids=lambda kind: kind.name)
def test_every_strategy_opens(kind) -> None:
    assert callable(importlib.import_module(kind.opens).open_context)


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_guide_speaks_of_every_strategy(name: str) -> None:
    assert f"`{name}`" in GUIDE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"name": "warp"}, "strategy"),
        ({"name": "multi_worker"}, "cluster"),
        ({"name": "mirrored", "cluster": "local:2"}, "cluster"),
        ({"name": "multi_worker", "cluster": "local:0"}, "cluster"),
        ({"name": "sequential", "time_to_train": "45m"}, "time_to_train"),
        ({"name": "auto", "time_to_train": "soon"}, "time_to_train"),
        ({"name": "auto", "max_cost": 0}, "max_cost"),
        ({"name": "auto", "device_cost_per_hour": {"GPU": -1}}, "device_cost_per_hour"),
        ({"name": "auto", "candidates": ("warp",)}, "candidates"),
        ({"learning_rate_rule": "cubic"}, "learning_rate_rule"),
        ({"exchange": "post"}, "exchange"),
        ({"restarts": -1}, "restarts"),
    ],
)
def test_errors_name_the_argument(wrong: dict, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Strategy(**wrong)


def test_rates_grow_only_as_the_rule_says() -> None:
    assert [lr_scale_factor(rule, 4) for rule in ("none", "linear", "sqrt")] == [1, 4, 2]
