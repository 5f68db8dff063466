"""Schedules and policies with a learning rate that was tuned."""

from typing import Any

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.schedules.batch_ramp import BatchSizeRamp
from tfx_feeder.components.feeder_trainer.schedules.initial_rate import with_learning_rate
from tfx_feeder.components.feeder_trainer.schedules.lr_decay import PiecewiseConstantDecay
from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule


@pytest.mark.parametrize(
    ("schedule", "tuned"),
    [
        ("0.01:32x10, 0.005:64x2000steps @200", "0.04:32x10, 0.02:64x2000steps @200"),
        (
            "decay_to_batch 0.01:32x30 max=512 decay=linear",
            "decay_to_batch 0.04:32x30 max=512 decay=linear",
        ),
        (
            "batch_warmup 0.01:32x30 end=128 over=5 @40",
            "batch_warmup 0.04:32x30 end=128 over=5 @40",
        ),
        (
            "on_plateau 0.01:32x30 max=512 min_lr=0.001",
            "on_plateau 0.04:32x30 max=512 min_lr=0.004",
        ),
        (
            "noise_scale 0.01:32x30 min=16 max=512 mode=apply",
            "noise_scale 0.04:32x30 min=16 max=512 mode=apply",
        ),
        (
            BatchSizeRamp(PiecewiseConstantDecay((0, 9), (0.01, 0.005)), 32, "3ep", 64),
            BatchSizeRamp(PiecewiseConstantDecay((0, 9), (0.04, 0.02)), 32, "3ep", 64),
        ),
    ],
)
def test_all_learning_rates_keep_their_ratio(schedule: Any, tuned: Any) -> None:
    assert with_learning_rate(parse_schedule(schedule), 0.04) == parse_schedule(tuned)


@pytest.mark.parametrize("rate", [0, -1, "0.1", None, float("inf")])
def test_what_is_no_learning_rate_is_refused(rate: Any) -> None:
    with pytest.raises(ConfigError, match="learning_rate: expected a number above 0"):
        with_learning_rate(parse_schedule("0.01:32x10"), rate)
