"""Durations as people write them."""

import pytest

from tfx_feeder.components.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.scheduling.durations import read_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45m", 2700), ("2h", 7200), ("1h30m", 5400), ("90s", 90), ("1d 0.5h", 88200), (12.5, 12.5)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert read_duration("time_to_train", text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "30", "5m2h", "-3s", "0s", None, True, 0, float("nan")])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="time_to_train"):
        read_duration("time_to_train", text)
