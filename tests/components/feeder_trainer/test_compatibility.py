"""Incompatible options are rejected when the pipeline is built."""

from typing import Any

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.compatibility import check_compatibility
from tfx_feeder.components.feeder_trainer.distribution.options import Auto, SingleDevice, Strategy
from tfx_feeder.components.feeder_trainer.distribution.strategy_info import STRATEGIES
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule
from tfx_feeder.components.feeder_trainer.training.early_stopping import BaselineEarlyStopping
from tfx_feeder.components.feeder_trainer.training.options import TrainingOptions

REQUESTED: dict[str, dict[str, Any]] = {
    "loop deterministic": {"training": TrainingOptions(deterministic=True)},
    "loop max_micro_batch_size": {"training": TrainingOptions(max_micro_batch_size=8)},
    "schedule": {"schedule": parse_schedule("noise_scale")},
}


def check(strategy: Strategy, requested: dict[str, Any]) -> None:
    plain = {
        "schedule": parse_schedule("0.01:32x1"),
        "feed": FeedOptions(),
        "training": TrainingOptions(),
    }
    check_compatibility(strategy, **plain | requested)


def named(name: str) -> Strategy:
    clustered = STRATEGIES[name].launch_mode in ("workers", "parameter_servers")
    return Strategy.from_dict({"name": name, **({"cluster": "local:2"} if clustered else {})})


@pytest.mark.parametrize("name", STRATEGIES)
def test_only_unsupported_options_are_rejected(name: str) -> None:
    for option, requested in REQUESTED.items():
        if option in STRATEGIES[name].unsupported:
            with pytest.raises(ConfigError, match=option):
                check(named(name), requested)
        else:
            check(named(name), requested)


def test_named_candidates_are_checked() -> None:
    auto = Auto("1h", candidates=("peer_averaging",), cluster="local:2")
    with pytest.raises(ConfigError, match="peer_averaging"):
        check(auto, REQUESTED["loop deterministic"])


def test_class_weights_require_labels() -> None:
    weighted = {"training": TrainingOptions(class_weight={1: 2.0})}
    check(SingleDevice(), weighted)
    with pytest.raises(ConfigError, match="class_weight and feed label_key"):
        check(SingleDevice(), weighted | {"feed": FeedOptions(label_key=None)})


@pytest.mark.parametrize(
    ("requested", "obstacle"),
    [
        ({"feed": FeedOptions(eval_splits=())}, "eval_splits"),
        ({"schedule": parse_schedule("on_plateau")}, "schedule"),
        ({"schedule": parse_schedule("noise_scale 0.01:8x9 min=8 max=64 mode=apply")}, "schedule"),
    ],
)
def test_early_stopping_requires_validation_and_a_known_schedule(
    requested: dict[str, Any], obstacle: str
) -> None:
    stopping = {
        "training": TrainingOptions(early_stopping=BaselineEarlyStopping("val_loss", "min"))
    }
    for schedule in ("0.01:8x9", "decay_to_batch", "noise_scale 0.01:8x9 min=8 max=64"):
        check(SingleDevice(), stopping | {"schedule": parse_schedule(schedule)})
    with pytest.raises(ConfigError, match=f"early_stopping and.*{obstacle}"):
        check(SingleDevice(), stopping | requested)


def test_on_plateau_cannot_monitor_a_validation_that_does_not_run() -> None:
    trains_only = {"feed": FeedOptions(eval_splits=())}
    on_loss = parse_schedule("on_plateau 0.01:8x9 max=64 monitor=loss")
    check(SingleDevice(), trains_only | {"schedule": on_loss})
    with pytest.raises(ConfigError, match=r"eval_splits.*Received: \('val_loss', \(\)\)"):
        check(SingleDevice(), trains_only | {"schedule": parse_schedule("on_plateau")})
