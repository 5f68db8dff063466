"""Durations are read as people write them, and written so that they can be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_feeder.common.durations import format_duration, parse_duration
from tfx_feeder.common.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("45m", 2700.0),
        ("2h", 7200.0),
        ("1h30m", 5400.0),
        ("1h 30m 5s", 5405.0),
        ("1.5h", 5400.0),
        ("1d 0.5h", 88_200.0),
        (12.5, 12.5),
    ],
)
def test_what_it_means(text: str | float, seconds: float) -> None:
    assert parse_duration("time_to_train", text) == seconds


@pytest.mark.parametrize(
    "text", ["", "45", "m", "30m1h", "1h1h", "-5m", "0s", "soon", None, True, 0, float("nan")]
)
def test_anything_else_names_the_argument_and_an_example(text: object) -> None:
    with pytest.raises(ConfigError, match=r"time_to_train: expected a duration.*'1h30m'"):
        parse_duration("time_to_train", text)  # pyright: ignore[reportArgumentType]


@given(seconds=st.floats(0.01, 1e8))
def test_it_is_written_to_two_units(seconds: float) -> None:
    assert parse_duration("time", format_duration(seconds)) == pytest.approx(
        seconds, rel=0.021, abs=0.006
    )
