"""What excludes what is said when the pipeline is built."""

from typing import Any

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.compatibility import check_goes_together
from tfx_feeder.components.feeder_trainer.distribution.options import (
    STRATEGIES,
    Auto,
    SingleDevice,
    Strategy,
)
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule
from tfx_feeder.components.feeder_trainer.training.early_stopping import BaselineEarlyStopping
from tfx_feeder.components.feeder_trainer.training.options import TrainingOptions

ASKED: dict[str, dict[str, Any]] = {
    "feed service": {"feed": FeedOptions(service="local:2")},
    "loop deterministic": {"loop": TrainingOptions(deterministic=True)},
    "loop max_micro_batch_size": {"loop": TrainingOptions(max_micro_batch_size=8)},
    "schedule": {"schedule": parse_schedule("noise_scale")},
}


def check(strategy: Strategy, asked: dict[str, Any]) -> None:
    plain = {
        "schedule": parse_schedule("0.01:32x1"),
        "feed": FeedOptions(),
        "loop": TrainingOptions(),
    }
    check_goes_together(strategy, **plain | asked)


def named(name: str) -> Strategy:
    clustered = STRATEGIES[name].launch_mode in ("workers", "parameter_servers")
    return Strategy.from_dict({"name": name, **({"cluster": "local:2"} if clustered else {})})


@pytest.mark.parametrize("name", STRATEGIES)
def test_only_what_the_table_names_is_refused(name: str) -> None:
    for option, asked in ASKED.items():
        if option in STRATEGIES[name].unsupported:
            with pytest.raises(ConfigError, match=option):
                check(named(name), asked)
        else:
            check(named(name), asked)


def test_candidates_that_are_named_are_checked() -> None:
    auto = Auto("1h", candidates=("peer_averaging",), cluster="local:2")
    with pytest.raises(ConfigError, match="peer_averaging"):
        check(auto, ASKED["loop deterministic"])


@pytest.mark.parametrize(
    ("asked", "obstacle"),
    [
        ({"feed": FeedOptions(eval_splits=())}, "eval_splits"),
        ({"schedule": parse_schedule("on_plateau")}, "schedule"),
        ({"schedule": parse_schedule("noise_scale 0.01:8x9 min=8 max=64 mode=apply")}, "schedule"),
    ],
)
def test_what_has_no_bound_cannot_be_given_up(asked: dict[str, Any], obstacle: str) -> None:
    stopping = {"loop": TrainingOptions(early_stopping=BaselineEarlyStopping("val_loss", "min"))}
    for schedule in ("0.01:8x9", "decay_to_batch", "noise_scale 0.01:8x9 min=8 max=64"):
        check(SingleDevice(), stopping | {"schedule": parse_schedule(schedule)})
    with pytest.raises(ConfigError, match=f"early_stopping and.*{obstacle}"):
        check(SingleDevice(), stopping | asked)
