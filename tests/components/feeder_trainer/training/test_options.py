"""Options of the loop are checked when they are made."""

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.training.early_stopping import BaselineEarlyStopping
from tfx_feeder.components.feeder_trainer.training.options import TrainingOptions


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_micro_batch_size", 0),
        ("max_micro_batch_size", 1.5),
        ("steps_per_execution", -1),
        ("checkpoint_every_examples", True),
        ("checkpoint_every_s", 0),
        ("keep_checkpoints", 0),
        ("early_stopping", 3),
        ("class_weight", {}),
        ("class_weight", {0: -1.0}),
        ("class_weight", {-1: 1.0}),
    ],
)
def test_a_value_out_of_range_is_named(name, value):
    with pytest.raises(ConfigError, match=f"loop {name}: expected"):
        TrainingOptions(**{name: value})


def test_they_go_through_json():
    options = TrainingOptions(
        max_micro_batch_size=64,
        class_weight={0: 1.0, 3: 2.5},
        deterministic=True,
        early_stopping=BaselineEarlyStopping("val_loss", "min", tolerance=0.1),
    )
    assert TrainingOptions.from_json(options.to_json()) == options
    assert '"give_up": ' in options.to_json()  # As in release 0.1.0: caches are keyed by it.
